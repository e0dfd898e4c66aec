//! Eight lanes of 64 bits, in which checksums are computed.

use super::portable::Portable;

/// As many bytes as eight lanes have.
pub(crate) const LANES_BYTES: usize = 64;

/// The operations of XXH3, and the greatest of numbers.
pub(crate) trait Lanes: Copy {
    /// Eight numbers in registers.
    type Lanes: Copy;

    /// Eight little-endian numbers. The bytes after them are on their way to the cache then, too.
    ///
    /// # Safety
    /// [`LANES_BYTES`] bytes from `from` on can be read. They may change at any time.
    unsafe fn load_lanes(self, from: *const u8) -> Self::Lanes;
    fn lanes(self, numbers: &[u64; 8]) -> Self::Lanes;
    fn numbers(self, lanes: Self::Lanes) -> [u64; 8];

    fn add(self, left: Self::Lanes, right: Self::Lanes) -> Self::Lanes;
    fn xor(self, left: Self::Lanes, right: Self::Lanes) -> Self::Lanes;
    /// The lower half of each lane times the upper one.
    fn multiply_halves(self, lanes: Self::Lanes) -> Self::Lanes;
    /// Lanes 1, 0, 3, 2, 5, 4, 7, 6.
    fn swap_neighbours(self, lanes: Self::Lanes) -> Self::Lanes;
    /// `(lane ^ lane >> 47 ^ key) * factor`, where the factor has 32 bits.
    fn scramble(self, lanes: Self::Lanes, key: Self::Lanes, factor: u32) -> Self::Lanes;
    /// The greater of the two in each 16 bits.
    fn greater_u16(self, left: Self::Lanes, right: Self::Lanes) -> Self::Lanes;
    /// The greater of the two in each 32 bits.
    fn greater_u32(self, left: Self::Lanes, right: Self::Lanes) -> Self::Lanes;
}

/// So far ahead of what is read memory is asked for. The processor by itself stops asking at the end of a page.
pub(super) const AHEAD: usize = 8192;

impl Lanes for Portable {
    type Lanes = [u64; 8];

    #[inline(always)]
    unsafe fn load_lanes(self, from: *const u8) -> [u64; 8] {
        // SAFETY: the caller vouches for the bytes, and any bytes are such numbers.
        let bytes: [u64; 8] = unsafe { from.cast::<[u64; 8]>().read_unaligned() };
        bytes.map(u64::from_le)
    }

    #[inline(always)]
    fn lanes(self, numbers: &[u64; 8]) -> [u64; 8] {
        *numbers
    }

    #[inline(always)]
    fn numbers(self, lanes: [u64; 8]) -> [u64; 8] {
        lanes
    }

    #[inline(always)]
    fn add(self, left: [u64; 8], right: [u64; 8]) -> [u64; 8] {
        std::array::from_fn(|i| left[i].wrapping_add(right[i]))
    }

    #[inline(always)]
    fn xor(self, left: [u64; 8], right: [u64; 8]) -> [u64; 8] {
        std::array::from_fn(|i| left[i] ^ right[i])
    }

    #[inline(always)]
    fn multiply_halves(self, lanes: [u64; 8]) -> [u64; 8] {
        lanes.map(|lane| (lane & 0xFFFF_FFFF) * (lane >> 32))
    }

    #[inline(always)]
    fn swap_neighbours(self, lanes: [u64; 8]) -> [u64; 8] {
        std::array::from_fn(|i| lanes[i ^ 1])
    }

    #[inline(always)]
    fn scramble(self, lanes: [u64; 8], key: [u64; 8], factor: u32) -> [u64; 8] {
        std::array::from_fn(|i| {
            let lane = lanes[i];
            (lane ^ lane >> 47 ^ key[i]).wrapping_mul(u64::from(factor))
        })
    }

    #[inline(always)]
    fn greater_u16(self, left: [u64; 8], right: [u64; 8]) -> [u64; 8] {
        greater::<u16, 32>(left, right)
    }

    #[inline(always)]
    fn greater_u32(self, left: [u64; 8], right: [u64; 8]) -> [u64; 8] {
        greater::<u32, 16>(left, right)
    }
}

/// The greater of the two in each of `N` numbers.
#[inline(always)]
fn greater<T: Copy + Ord, const N: usize>(left: [u64; 8], right: [u64; 8]) -> [u64; 8] {
    const { assert!(N * size_of::<T>() == LANES_BYTES) };
    // SAFETY: both are plain numbers and equally large.
    let [left, right] =
        unsafe { [left, right].map(|lanes| std::mem::transmute_copy::<_, [T; N]>(&lanes)) };
    let greater: [T; N] = std::array::from_fn(|i| left[i].max(right[i]));
    // SAFETY: as above.
    unsafe { std::mem::transmute_copy(&greater) }
}
