#!/bin/bash
# A run on two machines with eight GPUs each under Slurm: sbatch configs/slurm.sh. Submitted again, or requeued, it goes on where it was.
# percept is built with the MPI that Slurm's srun speaks to (srun --mpi=list):
#   module load openmpi; cargo build --release -p percept-cppo --features mpi

#SBATCH --job-name=percept
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8          # one rank for each GPU
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@300            # five minutes before the end all ranks finish their step, and the first saves

set -euo pipefail
export RAYON_NUM_THREADS=$SLURM_CPUS_PER_TASK

# the folder of the run is on a disk that outlives the job; the first rank alone writes there
srun --mpi=pmix --kill-on-bad-exit=1 \
    target/release/percept train configs/qwen2.5-vl-3b-geometry3k.toml \
    --resume auto --set run.name="geometry3k-$SLURM_NNODES-machines" --set run.folder=runs
