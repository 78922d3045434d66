//! Slab: values found by a number in O(1), of which each number is used once.
//!
//! A key is the place in its lower half and the place's generation in its upper one. Removing a
//! value ends the generation, so that a key of a value that is gone finds nothing, whoever has
//! taken its place: a stale or repeated completion is harmless.

/// Values by key.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    /// The first place of the list of free ones.
    free: u32,
    len: usize,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Held(T),
    /// The next free place.
    Free(u32),
}

const END: u32 = u32::MAX;
/// Above every generation: keys with it are for others, such as the answers to cancellations.
pub(super) const RESERVED: u64 = (u32::MAX as u64) << 32;

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self { places: Vec::new(), free: END, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The key that the next value is going to have.
    #[inline(always)]
    pub(super) fn vacant(&mut self) -> u64 {
        if self.free as usize >= self.places.len() {
            self.add_place();
        }
        key(self.free, self.places[self.free as usize].generation)
    }

    /// Keeps a value and returns its key.
    #[inline(always)]
    pub(super) fn insert(&mut self, value: T) -> u64 {
        let key = self.vacant();
        let place = &mut self.places[key as u32 as usize];
        if let Content::Free(next) = place.content {
            self.free = next;
        }
        // A free place holds nothing that would have to be dropped first.
        std::mem::forget(std::mem::replace(&mut place.content, Content::Held(value)));
        self.len += 1;
        key
    }

    /// Makes the place that is the only free one.
    #[cold]
    fn add_place(&mut self) {
        let index = u32::try_from(self.places.len()).expect("fewer values than memory has bytes");
        self.places.push(Place { generation: 0, content: Content::Free(END) });
        self.free = index;
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let place = self.places.get_mut(key as u32 as usize)?;
        match &mut place.content {
            Content::Held(value) if place.generation == (key >> 32) as u32 => Some(value),
            _ => None,
        }
    }

    /// Takes the value out; its key finds nothing from now on.
    #[inline]
    pub(super) fn remove(&mut self, key: u64) -> Option<T> {
        self.get_mut(key)?;
        let next = self.free(key as u32);
        let place = &mut self.places[key as u32 as usize];
        match std::mem::replace(&mut place.content, Content::Free(next)) {
            Content::Held(value) => Some(value),
            Content::Free(_) => None,
        }
    }

    /// The same for a value that is not needed, which is dropped where it lies.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "for io_uring"))]
    #[inline]
    pub(super) fn vacate(&mut self, key: u64) {
        if self.get_mut(key).is_some() {
            let next = self.free(key as u32);
            self.places[key as u32 as usize].content = Content::Free(next);
        }
    }

    /// The same for a value that owns nothing any more, which is not even dropped.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "for io_uring"))]
    #[inline(always)]
    pub(super) fn forget(&mut self, key: u64) {
        if self.get_mut(key).is_some() {
            let next = self.free(key as u32);
            let place = &mut self.places[key as u32 as usize];
            std::mem::forget(std::mem::replace(&mut place.content, Content::Free(next)));
        }
    }

    /// Ends a place's generation and puts it onto the list; what it has to say there.
    #[inline(always)]
    fn free(&mut self, index: u32) -> u32 {
        let place = &mut self.places[index as usize];
        place.generation += 1;
        // The last generation is nobody's: such a place is never used again.
        let is_worn = place.generation == (RESERVED >> 32) as u32;
        let next = if is_worn { END } else { std::mem::replace(&mut self.free, index) };
        self.len -= 1;
        next
    }

    /// Keys of all values.
    pub(super) fn keys(&self) -> impl Iterator<Item = u64> + '_ {
        let places = self.places.iter().enumerate();
        let held = places.filter(|(_, place)| matches!(place.content, Content::Held(_)));
        held.map(|(index, place)| key(index as u32, place.generation))
    }

    /// Places, of which each takes this many bytes whether it holds a value or not.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }
}

fn key(index: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_whose_keys_never_come_again(
            steps in proptest::collection::vec((any::<bool>(), any::<u16>()), 0..400)
        ) {
            let (mut slab, mut model) = (Slab::new(), HashMap::new());
            let (mut live, mut dead) = (Vec::new(), Vec::new());
            for (n, (insert, pick)) in steps.into_iter().enumerate() {
                if insert || live.is_empty() {
                    let key = slab.insert(n);
                    prop_assert!(key < RESERVED);
                    prop_assert!(!dead.contains(&key));
                    prop_assert!(model.insert(key, n).is_none());
                    live.push(key);
                } else {
                    let key = live.swap_remove(pick as usize % live.len());
                    prop_assert_eq!(slab.remove(key), model.remove(&key));
                    dead.push(key);
                }
                prop_assert_eq!(slab.len(), model.len());
                for key in &dead {
                    prop_assert!(slab.get_mut(*key).is_none() && slab.remove(*key).is_none());
                }
            }
            for (key, value) in &model {
                prop_assert_eq!(slab.get_mut(*key).copied(), Some(*value));
            }
            prop_assert_eq!(slab.keys().count(), model.len());
        }
    }

    #[test]
    fn a_million_values_one_after_the_other_need_one_place() {
        let mut slab = Slab::new();
        for n in 0..1_000_000 {
            let key = slab.insert(n);
            assert_eq!(slab.remove(key), Some(n));
        }
        assert_eq!((slab.len(), slab.places()), (0, 1));
    }

    #[test]
    fn a_worn_place_is_left_alone() {
        let mut slab = Slab::new();
        let first = slab.insert(1);
        slab.remove(first);
        slab.places[0].generation = u32::MAX - 1;
        let last = slab.insert(2);
        assert_eq!(slab.remove(last), Some(2));
        assert_eq!(slab.insert(3) as u32, 1);
        assert!(slab.get_mut(last).is_none() && slab.get_mut(RESERVED).is_none());
    }
}
