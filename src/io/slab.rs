//! Slab: values found by a number in O(1), of which each number is used once.
//!
//! A key is the place in its lower half and the place's generation in its upper one. Removing a
//! value ends the generation, so that a key of a value that is gone finds nothing, whoever has
//! taken its place: a stale or repeated completion is harmless.
//!
//! ```text
//! a place with a value   generation u32 | its own index u32       the value's key, as a whole
//! a free one             the next one's | next free place u32     no key: no place follows itself
//! ```

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
    /// The key of the value that is here; the next free place below a generation, while none is.
    key: u64,
    value: Option<T>,
}

/// A free place, and the key that its value is going to have.
pub(super) struct Vacant<'a, T> {
    place: &'a mut Place<T>,
    free: &'a mut u32,
    len: &'a mut usize,
    key: u64,
}

/// A value in its place, found by its key.
pub(super) struct Held<'a, T> {
    place: &'a mut Place<T>,
    free: &'a mut u32,
    len: &'a mut usize,
    key: u64,
}

const END: u32 = u32::MAX;
/// From a generation to the next, and the first. Keys below are no value's, and for others, such as
/// the answers to cancellations.
pub(super) const FIRST_KEY: u64 = 1 << 32;

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self { places: Vec::new(), free: END, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// A free place, which is made if there is none.
    pub(super) fn vacant(&mut self) -> Vacant<'_, T> {
        if self.free as usize >= self.places.len() {
            self.grow();
        }
        self.vacant_now().expect("made above")
    }

    /// Makes places, as many as the memory has that is there after one more.
    #[cold]
    fn grow(&mut self) {
        self.places.reserve(1);
        let (first, n) = (self.places.len(), self.places.capacity());
        let n = u32::try_from(n).expect("fewer values than memory has bytes");
        let place = |index| {
            let next = if index + 1 == n { END } else { index + 1 };
            Place { key: FIRST_KEY | u64::from(next), value: None }
        };
        self.free = first as u32;
        self.places.extend((first as u32..n).map(place));
    }

    /// A free place, if there is one.
    #[inline(always)]
    pub(super) fn vacant_now(&mut self) -> Option<Vacant<'_, T>> {
        let index = self.free;
        let place = self.places.get_mut(index as usize)?;
        let key = key((place.key >> 32) as u32, index);
        Some(Vacant { place, free: &mut self.free, len: &mut self.len, key })
    }

    /// Keeps a value and returns its key.
    pub(super) fn insert(&mut self, value: T) -> u64 {
        self.vacant().insert(value)
    }

    #[inline(always)]
    pub(super) fn held(&mut self, key: u64) -> Option<Held<'_, T>> {
        let place = self.places.get_mut(key as u32 as usize)?;
        if place.key != key || place.value.is_none() {
            return None;
        }
        Some(Held { place, free: &mut self.free, len: &mut self.len, key })
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let place = self.places.get_mut(key as u32 as usize)?;
        if place.key == key { place.value.as_mut() } else { None }
    }

    /// Takes the value out; its key finds nothing from now on.
    #[inline]
    pub(super) fn remove(&mut self, key: u64) -> Option<T> {
        let mut held = self.held(key)?;
        held.free();
        held.place.value.take()
    }

    /// The same for a value that is not needed, which is dropped where it lies.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "for io_uring"))]
    #[inline]
    pub(super) fn vacate(&mut self, key: u64) {
        if let Some(mut held) = self.held(key) {
            held.free();
            held.place.value = None;
        }
    }

    /// Keys of all values.
    pub(super) fn keys(&self) -> impl Iterator<Item = u64> + '_ {
        let held = self.places.iter().filter(|place| place.value.is_some());
        held.map(|place| place.key)
    }
}

impl<T> Vacant<'_, T> {
    #[inline(always)]
    pub(super) fn key(&self) -> u64 {
        self.key
    }

    /// Keeps a value and returns its key.
    #[inline(always)]
    pub(super) fn insert(self, value: T) -> u64 {
        *self.free = self.place.key as u32;
        self.place.key = self.key;
        *self.len += 1;
        // A free place holds nothing that would have to be dropped first.
        std::mem::forget(self.place.value.replace(value));
        self.key
    }
}

impl<T> Held<'_, T> {
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "for io_uring"))]
    #[inline(always)]
    pub(super) fn get_mut(&mut self) -> &mut T {
        self.place.value.as_mut().expect("it was found")
    }

    /// Removes a value that owns nothing any more, and is not even dropped.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "for io_uring"))]
    #[inline(always)]
    pub(super) fn forget(mut self) {
        self.free();
        std::mem::forget(self.place.value.take());
    }

    /// Ends the place's generation and puts it onto the list of free ones.
    #[inline(always)]
    fn free(&mut self) {
        *self.len -= 1;
        let index = self.key as u32;
        let (next, is_worn) = self.key.overflowing_add(FIRST_KEY);
        if is_worn {
            return self.place.wear();
        }
        // Puts one index in the place of the other, without a mask.
        self.place.key = next ^ u64::from(index ^ std::mem::replace(self.free, index));
    }
}

impl<T> Place<T> {
    /// Leaves a place alone whose generations are used up: it is on no list, and has no key.
    #[cold]
    #[inline(never)]
    fn wear(&mut self) {
        self.key = u64::from(END);
    }
}

#[inline(always)]
fn key(generation: u32, index: u32) -> u64 {
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
                    prop_assert!(key >= FIRST_KEY);
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
            assert_eq!(key as u32, 0);
            assert_eq!(slab.remove(key), Some(n));
        }
        assert_eq!(slab.len(), 0);
    }

    #[test]
    fn a_worn_place_is_left_alone() {
        let mut slab = Slab::new();
        let first = slab.insert(1);
        slab.remove(first);
        slab.places[0].key |= u64::MAX << 32;
        let last = slab.insert(2);
        assert_eq!((last >> 32, slab.remove(last)), (u32::MAX.into(), Some(2)));
        assert_eq!(slab.insert(3) as u32, 1);
        assert!(slab.get_mut(last).is_none());
        assert!((0..FIRST_KEY).step_by(1 << 20).chain(0..100).all(|key| slab.held(key).is_none()));
    }
}
