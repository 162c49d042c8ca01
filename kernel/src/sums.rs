//! Sums of tokens modulo 2^256, 32 bytes in big-endian order (FORMAT.md section 7.5).

pub const SUM_BYTES: usize = 32;
const LIMB_BYTES: usize = 8;
const LIMBS: usize = SUM_BYTES / LIMB_BYTES;

/// A sum. The least significant limb comes first.
#[derive(Clone, Copy, Default)]
pub struct Sum([u64; LIMBS]);

impl Sum {
    pub fn from_bytes(bytes: &[u8; SUM_BYTES]) -> Self {
        let mut limbs = [0; LIMBS];
        let (chunks, _) = bytes.as_chunks::<LIMB_BYTES>();
        for (limb, chunk) in limbs.iter_mut().rev().zip(chunks) {
            *limb = u64::from_be_bytes(*chunk);
        }
        Sum(limbs)
    }

    pub fn to_bytes(self) -> [u8; SUM_BYTES] {
        let mut bytes = [0; SUM_BYTES];
        let (chunks, _) = bytes.as_chunks_mut::<LIMB_BYTES>();
        for (chunk, limb) in chunks.iter_mut().zip(self.0.iter().rev()) {
            *chunk = limb.to_be_bytes();
        }
        bytes
    }

    pub fn add(&mut self, other: &Sum) {
        let mut carry = false;
        for (limb, added) in self.0.iter_mut().zip(other.0) {
            let (sum, first) = limb.overflowing_add(added);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = first | second;
        }
    }

    pub fn subtract(&mut self, other: &Sum) {
        let mut borrow = false;
        for (limb, removed) in self.0.iter_mut().zip(other.0) {
            let (rest, first) = limb.overflowing_sub(removed);
            let (rest, second) = rest.overflowing_sub(u64::from(borrow));
            *limb = rest;
            borrow = first | second;
        }
    }
}
