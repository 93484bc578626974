//! Sums and maxima of slices for CPU kernels: vectorised, and the same to the last bit on every processor.

use crate::cpu::math::Math;

/// Partial results a reduction keeps side by side: enough to fill vector registers, and fixed, so that the order of the
/// additions, and with it the last bit of the result, does not depend on the processor.
const LANES: usize = 32;

/// The sum of the values; 0 if there are none.
#[inline(always)]
pub fn sum<T: Math>(values: &[T]) -> T {
    reduce(values, T::default(), |accumulator, x| accumulator + x, |a, b| a + b)
}

/// The sum of the squares; 0 if there are no values.
#[inline(always)]
pub fn sum_sq<T: Math>(values: &[T]) -> T {
    reduce(values, T::default(), |accumulator, x| x.multiply_add(x, accumulator), |a, b| a + b)
}

/// The sum of the squared distances from `centre`; 0 if there are no values.
#[inline(always)]
pub fn sum_sq_about<T: Math + std::ops::Sub<Output = T>>(values: &[T], centre: T) -> T {
    let step = |accumulator, x: T| (x - centre).multiply_add(x - centre, accumulator);
    reduce(values, T::default(), step, |a, b| a + b)
}

/// The largest value, passing over those that are not numbers; `-∞` if there are none.
#[inline(always)]
pub fn max<T: Math>(values: &[T]) -> T {
    let larger = |a: T, b: T| if b > a { b } else { a };
    reduce(values, T::MINUS_INFINITY, larger, larger)
}

/// The sum of the products of the two sides' elements; 0 if there are none.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
#[track_caller]
pub fn dot<T: Math>(left: &[T], right: &[T]) -> T {
    assert_eq!(left.len(), right.len(), "dot: lengths differ");
    let mut lanes = [T::default(); LANES];
    let (left_chunks, left_rest) = left.as_chunks::<LANES>();
    let (right_chunks, right_rest) = right.as_chunks::<LANES>();
    for (a, b) in left_chunks.iter().zip(right_chunks) {
        for lane in 0..LANES {
            lanes[lane] = a[lane].multiply_add(b[lane], lanes[lane]);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(left_rest).zip(right_rest) {
        *lane = a.multiply_add(*b, *lane);
    }
    fold(lanes, |a, b| a + b)
}

#[inline(always)]
fn reduce<T: Math>(values: &[T], start: T, step: impl Fn(T, T) -> T, join: impl Fn(T, T) -> T) -> T {
    let mut lanes = [start; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = step(lanes[lane], chunk[lane]);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = step(*lane, *x);
    }
    fold(lanes, join)
}

/// Joins the lanes pairwise: halves onto halves, so that this vectorises too.
#[inline(always)]
fn fold<T: Math>(mut lanes: [T; LANES], join: impl Fn(T, T) -> T) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = join(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reductions_of_every_length_match_the_plain_loop() {
        for length in 0..130 {
            let x: Vec<f64> = (0..length).map(|i| f64::from((i * 37 + 11) % 64 - 32)).collect();
            let y: Vec<f64> = (0..length).map(|i| f64::from((i * 29 + 5) % 16 - 8)).collect();
            // Small integers: exact in any order.
            assert_eq!(sum(&x), x.iter().sum::<f64>());
            assert_eq!(sum_sq(&x), x.iter().map(|v| v * v).sum::<f64>());
            assert_eq!(sum_sq_about(&x, 3.0), x.iter().map(|v| (v - 3.0) * (v - 3.0)).sum::<f64>());
            assert_eq!(max(&x), x.iter().copied().fold(f64::NEG_INFINITY, f64::max));
            assert_eq!(dot(&x, &y), x.iter().zip(&y).map(|(a, b)| a * b).sum::<f64>());
        }
        assert_eq!(max(&[f32::NAN, -3.0, f32::NAN, -7.0]), -3.0);
    }
}
