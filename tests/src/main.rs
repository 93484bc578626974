//! All tests of the project, in one binary (one link, one GPU device).

mod hf;
mod op_table;
