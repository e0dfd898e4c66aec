//! From ids as they stand on disk to the integers that batches are made of.

use super::format::TokenType;

/// Integers that a batch can be made of.
pub trait Id: Copy + Default + Send {
    /// From two bytes on disk.
    fn from_u16(id: u16) -> Self;
    /// From four bytes on disk.
    fn from_u32(id: u32) -> Self;
    /// The target that the loss leaves out. Unsigned integers have none: 0 stands there, and the loss mask says so.
    const IGNORED: Option<Self>;
    /// Its name in numpy.
    const NAME: &'static str;

    /// Whether it holds every id of that width.
    fn holds(token_type: TokenType) -> bool {
        token_type.bytes() <= size_of::<Self>()
    }
}

macro_rules! impl_id {
    ($($t:ty, $name:literal, $ignored:expr;)*) => {$(
        impl Id for $t {
            fn from_u16(id: u16) -> Self {
                id.into()
            }
            // Ids are below 2³¹, and those of 32 bits go nowhere that does not hold them.
            #[allow(clippy::cast_possible_wrap, clippy::cast_lossless, clippy::unnecessary_cast)]
            fn from_u32(id: u32) -> Self {
                id as $t
            }
            const IGNORED: Option<Self> = $ignored;
            const NAME: &'static str = $name;
        }
    )*};
}
impl_id! {
    i64, "int64", Some(-1);
    i32, "int32", Some(-1);
    u32, "uint32", None;
    u16, "uint16", None;
}

/// One more than the greatest id that fits in [`i32`]; beyond it an id would become a negative target.
pub(super) const ID_LIMIT: u32 = 1 << 31;

/// Copies tokens into wider integers and returns the largest.
pub(super) fn widen<T: Id>(token_type: TokenType, bytes: &[u8], out: &mut [T]) -> u32 {
    // Two plain loops over a piece that stays in the first-level cache: the compiler turns both into vector code.
    const PIECE: usize = 4096;
    let width = token_type.bytes();
    let mut largest = 0;
    for (bytes, out) in bytes.chunks(PIECE * width).zip(out.chunks_mut(PIECE)) {
        match token_type {
            TokenType::U16 => {
                largest = largest.max(greatest(token_type, bytes));
                let ids = bytes.as_chunks().0.iter().map(|&id| u16::from_le_bytes(id));
                for (to, id) in out.iter_mut().zip(ids) {
                    *to = T::from_u16(id);
                }
            }
            TokenType::U32 => {
                largest = largest.max(greatest(token_type, bytes));
                let ids = bytes.as_chunks().0.iter().map(|&id| u32::from_le_bytes(id));
                for (to, id) in out.iter_mut().zip(ids) {
                    *to = T::from_u32(id);
                }
            }
        }
    }
    largest
}

/// The greatest of some tokens, 0 where there are none.
#[allow(clippy::inline_always)] // has to end up in a function that is compiled for the instruction set
#[inline(always)]
pub(super) fn greatest(token_type: TokenType, bytes: &[u8]) -> u32 {
    match token_type {
        TokenType::U16 => {
            let ids = bytes.as_chunks().0.iter();
            ids.map(|&id| u16::from_le_bytes(id))
                .fold(0, u16::max)
                .into()
        }
        TokenType::U32 => {
            let ids = bytes.as_chunks().0.iter();
            ids.map(|&id| u32::from_le_bytes(id)).fold(0, u32::max)
        }
    }
}

/// Tokens as they are on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Of two bytes.
    U16(Vec<u16>),
    /// Of four bytes.
    U32(Vec<u32>),
}

impl Tokens {
    /// None yet, with room for `count`.
    pub(super) fn with_room(token_type: TokenType, count: usize) -> crate::Result<Self> {
        let mut tokens = match token_type {
            TokenType::U16 => Self::U16(Vec::new()),
            TokenType::U32 => Self::U32(Vec::new()),
        };
        let reserved = match &mut tokens {
            Self::U16(ids) => ids.try_reserve_exact(count),
            Self::U32(ids) => ids.try_reserve_exact(count),
        };
        reserved.map_err(|_| crate::Error::OutOfMemory {
            bytes: count.saturating_mul(token_type.bytes()),
        })?;
        Ok(tokens)
    }

    /// Appends tokens.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        match self {
            Self::U16(ids) => {
                let more = bytes.as_chunks().0.iter();
                ids.extend(more.map(|&id| u16::from_le_bytes(id)));
            }
            Self::U32(ids) => {
                let more = bytes.as_chunks().0.iter();
                ids.extend(more.map(|&id| u32::from_le_bytes(id)));
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::U16(ids) => ids.len(),
            Self::U32(ids) => ids.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
