//! The program under `mpirun`: `cargo test -p percept-tests --features mpi -- ranks_program`. Needs Open MPI (Debian: `openmpi-bin libopenmpi-dev libclang-dev`).

#[cfg(feature = "mpi")]
mod mpirun;

use crate::program::{command, end};

/// Without MPI nothing can be shared: each of the processes would do the whole run, and write it.
#[test]
#[cfg_attr(feature = "mpi", ignore = "this build has MPI")]
fn a_build_without_mpi_refuses_to_be_several() {
    for [size, rank] in [["OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"], ["PMI_SIZE", "PMI_RANK"], ["SLURM_STEP_NUM_TASKS", "PMIX_RANK"]]
    {
        let start = |of: &str| end(command(&["train", "--dry-run"]).env(size, of).env(rank, "0").spawn().unwrap());
        let (code, _, errors) = start("2");
        assert!(code == Some(2) && errors.contains("--features mpi"), "{errors}");
        let (code, _, errors) = start("1");
        assert_eq!(code, Some(0), "{errors}");
    }
}
