//! build
use crate::{
    digest::Digest,
    error::{Kind, Result},
};
use std::path::PathBuf;
/// Options
#[derive(Debug)]
pub struct Options {
    pub directory: PathBuf,
    pub out: Option<PathBuf>,
    pub examples: bool,
}
/// Built
#[derive(Debug)]
pub struct Built {
    pub path: PathBuf,
    pub bytes: u64,
    pub digest: Digest,
}
/// Build
pub fn build(_options: &Options) -> Result<Vec<Built>> {
    Err(Kind::Internal.error("no"))
}
