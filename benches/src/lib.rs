//! unwedge measured against its peers: what `cargo compare` judges and what the criterion benches follow over time.
//!
//! - [`apart`]: runs of which each has a process of its own;
//! - [`arena`]: buffers that notice a late write;
//! - [`device`]: on what files were read;
//! - [`groups`]: the work of each group, done by ours and by each peer in one shape;
//! - [`measure`]: runs, interleaved pairs;
//! - [`machine`]: how much others ran meanwhile;
//! - [`stats`]: the median and its interval;
//! - [`verdict`]: the bars, and whether they are met;
//! - [`output`]: the table and the JSON lines.

pub mod apart;
pub mod arena;
pub mod device;
pub mod groups;
pub mod machine;
pub mod measure;
pub mod output;
pub mod stats;
pub mod verdict;
