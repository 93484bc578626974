//! Ranks as processes that `mpirun` or `srun` has started, which exchange by MPI.

use std::sync::Arc;

use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::{Universe, initialize_with_threading, processor_name};
use mpi::point_to_point::send_receive_into;
use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::traits::CommunicatorCollectives;

use super::{Exchange, Place, World};

/// A process among those that were started together. MPI ends when it is dropped.
pub struct Joined {
    /// The ranks, as this one sees them.
    pub world: World,
    _universe: Universe,
}

/// Joins the processes that were started together; none if this process has joined before.
pub fn join() -> Option<Joined> {
    // exchanges are the main thread's; the watch's thread may end all ranks meanwhile
    let (universe, _) = initialize_with_threading(Threading::Multiple)?;
    let ranks = universe.world();
    let (rank, size) = (ranks.rank() as usize, ranks.size() as usize);
    let machine = ranks.split_shared(rank as i32);
    let place = Place { rank: machine.rank() as usize, size: machine.size() as usize };
    let world = World::new(rank, size, Arc::new(Mpi)).at(place, &processor_name().unwrap_or_default());
    Some(Joined { world, _universe: universe })
}

/// The communicator of all ranks is MPI's own, so there is nothing to keep.
struct Mpi;

/// Bytes of a message: MPI counts elements in a C int.
const MESSAGE: usize = 1 << 30;
/// Bytes that all ranks together send in one round of a gather, for the same reason.
const ROUND: usize = 1 << 30;
/// Elements that are summed at once, for which there is a second buffer.
const SUMMED: usize = 1 << 24;

impl Exchange for Mpi {
    fn gather(&self, own: Vec<u8>) -> Vec<Vec<u8>> {
        let ranks = SimpleCommunicator::world();
        let size = ranks.size() as usize;
        let mut lengths = vec![0u64; size];
        ranks.all_gather_into(&[own.len() as u64][..], &mut lengths[..]);
        let longest = lengths.iter().max().copied().unwrap_or(0) as usize;
        let most = (ROUND / size).max(1);
        let mut all: Vec<Vec<u8>> = lengths.iter().map(|length| Vec::with_capacity(*length as usize)).collect();
        for start in (0..longest).step_by(most) {
            let part = |length: usize| length.clamp(start, start + most) - start;
            let counts: Vec<i32> = lengths.iter().map(|length| part(*length as usize) as i32).collect();
            let places: Vec<i32> = counts.iter().scan(0, |end, count| Some(std::mem::replace(end, *end + count))).collect();
            let mut received = vec![0u8; counts.iter().map(|count| *count as usize).sum()];
            let sent = &own[start.min(own.len())..][..part(own.len())];
            ranks.all_gather_varcount_into(sent, &mut PartitionMut::new(&mut received[..], &counts[..], &places[..]));
            for ((of_rank, count), place) in all.iter_mut().zip(counts).zip(places) {
                of_rank.extend(&received[place as usize..][..count as usize]);
            }
        }
        all
    }

    fn swap(&self, peer: usize, own: Vec<u8>) -> Vec<u8> {
        let ranks = SimpleCommunicator::world();
        let peer = ranks.process_at_rank(peer as i32);
        let mut theirs = vec![0u8; own.len()];
        for (own, theirs) in own.chunks(MESSAGE).zip(theirs.chunks_mut(MESSAGE)) {
            send_receive_into(own, &peer, theirs, &peer);
        }
        theirs
    }

    fn sum(&self, own: &mut [f32]) {
        let ranks = SimpleCommunicator::world();
        let mut sums = vec![0.0f32; own.len().min(SUMMED)];
        for own in own.chunks_mut(SUMMED) {
            let sums = &mut sums[..own.len()];
            ranks.all_reduce_into(&*own, sums, SystemOperation::sum());
            own.copy_from_slice(sums);
        }
    }

    fn abort(&self, code: u8) -> ! {
        SimpleCommunicator::world().abort(i32::from(code))
    }
}
