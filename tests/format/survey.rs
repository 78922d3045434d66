//! Survey: all that a reader gets out of a file.

use std::fs::File;
use std::os::unix::fs::FileExt;

use ttlog::store::block::BlockHeader;
use ttlog::store::segment::{Entry, SegmentReader};
use ttlog::store::{Damage, Error};

/// A block as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    pub(crate) offset: u64,
    pub(crate) header: BlockHeader,
    pub(crate) payload: Vec<u8>,
}

/// All that a reader gets out of a file.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) blocks: Vec<Block>,
    pub(crate) damage: Vec<Damage>,
    pub(crate) unfinished: Vec<(u64, u64)>,
    pub(crate) sealed: bool,
}

impl Survey {
    /// Events in the blocks.
    pub(crate) fn records(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.header.records)).sum()
    }

    /// Events that the damage cost, as far as somebody knows.
    pub(crate) fn lost(&self) -> Option<u64> {
        self.damage.iter().map(|damage| damage.records).sum()
    }
}

/// A file that is written anew again and again.
pub(crate) struct Image {
    file: File,
}

impl Image {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let image = Self { file: tempfile::tempfile().unwrap() };
        image.set(bytes);
        image
    }

    pub(crate) fn set(&self, bytes: &[u8]) {
        self.file.set_len(bytes.len() as u64).unwrap();
        self.file.write_all_at(bytes, 0).unwrap();
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, offset).unwrap();
    }

    pub(crate) fn set_len(&self, len: u64) {
        self.file.set_len(len).unwrap();
    }

    pub(crate) fn read(&self) -> Result<SegmentReader, Error> {
        SegmentReader::from_file(self.file.try_clone().unwrap())
    }

    pub(crate) fn survey(&self) -> Result<Survey, Error> {
        let mut reader = self.read()?;
        let mut survey = Survey::default();
        let mut end = 0;
        while let Some(entry) = reader.next_entry()? {
            let offset = match entry {
                Entry::Block(block) => {
                    let mut payload = Vec::new();
                    match reader.read_block(&block, &mut payload) {
                        Ok(()) => survey.blocks.push(Block {
                            offset: block.offset,
                            header: block.header,
                            payload,
                        }),
                        Err(damage) => survey.damage.push(damage),
                    }
                    block.offset
                }
                Entry::Damage(damage) => {
                    survey.damage.push(damage);
                    damage.offset
                }
                Entry::Unfinished { offset, len } => {
                    survey.unfinished.push((offset, len));
                    offset
                }
            };
            assert!(offset >= end || offset < 1024, "entries come in order");
            end = offset;
        }
        survey.sealed = reader.is_sealed();
        Ok(survey)
    }
}

/// The survey of these bytes.
pub(crate) fn survey(bytes: &[u8]) -> Result<Survey, Error> {
    Image::new(bytes).survey()
}
