//! Speed of the erasure code on one core, kernel by kernel, with memcpy of the same bytes beside it.
//!
//! Run it with `cargo bench --bench codec`. Figures are GB/s of user data (1 MiB stripes that stay in the caches), the
//! best of several interleaved rounds: other work on the machine only ever makes a round slower.
#![allow(clippy::disallowed_methods)] // It measures time itself.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aerie::codec::{Codec, Kernel};
use aerie::limits::STRIPE_BYTES;

const GEOMETRIES: [(u8, u8); 5] = [(2, 1), (3, 1), (4, 2), (8, 4), (12, 4)];
const ROUNDS: usize = 12;
const ROUND: Duration = Duration::from_millis(8);

fn main() {
    println!("GB/s of user data on one core, stripes of {} KiB\n", STRIPE_BYTES >> 10);
    print!("{:26}", "");
    GEOMETRIES.iter().for_each(|(k, m)| print!("{:>8}", format!("{k}+{m}")));
    println!();

    let stripes: Vec<Stripe> = GEOMETRIES.iter().map(|&(k, m)| Stripe::new(k, m)).collect();
    for (name, work) in [("encode", Stripe::encode as Work), ("reconstruct m data", Stripe::reconstruct)] {
        let kernels = Kernel::available();
        let best = best_of_rounds(kernels.len(), stripes.len(), |kernel, stripe| {
            stripes[stripe].measure(kernels[kernel], work)
        });
        for (kernel, row) in kernels.iter().zip(best) {
            print_row(&format!("{name} {}", kernel.name()), &row);
        }
    }
    let best = best_of_rounds(2, stripes.len(), |row, stripe| match row {
        0 => stripes[stripe].measure(Kernel::fastest(), Stripe::fold_check),
        _ => stripes[stripe].measure(Kernel::fastest(), Stripe::copy),
    });
    print_row("fold check", &best[0]);
    print_row("memcpy", &best[1]);
}

fn print_row(name: &str, gigabytes_per_second: &[f64]) {
    print!("{name:26}");
    gigabytes_per_second.iter().for_each(|value| print!("{value:8.1}"));
    println!();
}

/// Runs every cell once a round, so that a slow moment of the machine hits all of them.
fn best_of_rounds(rows: usize, columns: usize, mut cell: impl FnMut(usize, usize) -> f64) -> Vec<Vec<f64>> {
    let mut best = vec![vec![0f64; columns]; rows];
    for _ in 0..ROUNDS {
        for (row, values) in best.iter_mut().enumerate() {
            for (column, value) in values.iter_mut().enumerate() {
                *value = value.max(cell(row, column));
            }
        }
    }
    best
}

/// One coded stripe, and room for what is computed from it.
struct Stripe {
    k: u8,
    m: u8,
    data: Vec<Vec<u8>>,
    parity: Vec<Vec<u8>>,
}

type Work = fn(&Stripe, &Codec, &mut [Vec<u8>]);

impl Stripe {
    fn new(k: u8, m: u8) -> Stripe {
        let length = STRIPE_BYTES.div_ceil(usize::from(k)).next_multiple_of(64);
        let data =
            (0..usize::from(k)).map(|shard| (0..length).map(|at| (at * 31 + shard * 7) as u8).collect()).collect();
        let mut stripe = Stripe { k, m, data, parity: Vec::new() };
        let codec = Codec::new(k, m).expect("a valid geometry");
        let mut parity = vec![vec![0; length]; usize::from(m)];
        stripe.encode(&codec, &mut parity);
        stripe.parity = parity;
        stripe
    }

    /// GB/s of user data in one round.
    fn measure(&self, kernel: Kernel, work: Work) -> f64 {
        let codec = Codec::with_kernel(self.k, self.m, kernel).expect("a valid geometry");
        let mut room = vec![vec![0; self.data[0].len()]; self.data.len()];
        work(self, &codec, &mut room);
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < ROUND {
            work(self, &codec, &mut room);
            black_box(&mut room);
            count += 1;
        }
        f64::from(count) * STRIPE_BYTES as f64 / start.elapsed().as_secs_f64() / 1e9
    }

    fn encode(&self, codec: &Codec, room: &mut [Vec<u8>]) {
        let mut parity: Vec<&mut [u8]> = room.iter_mut().take(self.m.into()).map(Vec::as_mut_slice).collect();
        codec.encode(&slices(&self.data), &mut parity);
    }

    /// Gives back the first m data shards, or the only k of them that there are.
    fn reconstruct(&self, codec: &Codec, room: &mut [Vec<u8>]) {
        let shards = (0..).zip(self.data.iter().chain(&self.parity).map(Vec::as_slice));
        let present: Vec<(u8, &[u8])> = shards.skip(self.m.into()).collect();
        let mut missing: Vec<(u8, &mut [u8])> = (0..self.m).zip(room.iter_mut().map(Vec::as_mut_slice)).collect();
        codec.reconstruct(&present, &mut missing).expect("k shards are present");
    }

    fn fold_check(&self, codec: &Codec, _room: &mut [Vec<u8>]) {
        assert!(codec.fold_check(&slices(&self.data), &slices(&self.parity)));
    }

    fn copy(&self, _codec: &Codec, room: &mut [Vec<u8>]) {
        for (to, from) in room.iter_mut().zip(&self.data) {
            to.copy_from_slice(from);
        }
    }
}

fn slices(shards: &[Vec<u8>]) -> Vec<&[u8]> {
    shards.iter().map(Vec::as_slice).collect()
}
