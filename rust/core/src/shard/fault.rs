//! What happens to a thread that reads mapped memory whose file has been cut off.
//!
//! The system sends it SIGBUS, which ends the process unless somebody does something about it. The handler here looks
//! whether the address is in a map that is watched. If so, it lays a page of zeros over the one that is missing,
//! notes that the map is damaged, and lets the thread go on; whoever reads asks for the note afterwards. Every other
//! SIGBUS goes to the handler that was there before.
//!
//! A signal handler may not wait or allocate: it walks a list whose entries are never freed, made of atomic numbers.

#![allow(unsafe_code)]
#![cfg_attr(not(unix), allow(dead_code))]

use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// A range of addresses that is being watched; a place in the list, used again when it is free.
#[derive(Debug)]
struct Entry {
    /// The first address, or 0 where nothing is watched.
    start: AtomicUsize,
    length: AtomicUsize,
    cut: AtomicBool,
    taken: AtomicBool,
    next: AtomicPtr<Entry>,
}

/// The head of the list.
static ENTRIES: AtomicPtr<Entry> = AtomicPtr::new(null_mut());

/// A range of addresses that is watched for as long as this lives, and no longer than the map.
#[derive(Debug)]
pub(super) struct Watched(&'static Entry);

impl Watched {
    /// Watches a range that begins and ends with pages. None where the system has no such handlers.
    pub(super) fn new(start: usize, length: usize) -> Option<Self> {
        handler::install()?;
        let entry = free_entry();
        entry.cut.store(false, Ordering::Relaxed);
        entry.length.store(length, Ordering::Relaxed);
        entry.start.store(start, Ordering::Release);
        Some(Self(entry))
    }

    /// Whether something was missing so far.
    pub(super) fn is_cut(&self) -> bool {
        self.0.cut.load(Ordering::Acquire)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.start.store(0, Ordering::Release);
        self.0.taken.store(false, Ordering::Release);
    }
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    let mut next = &ENTRIES;
    std::iter::from_fn(move || {
        // SAFETY: entries are leaked, so a pointer to one is good for ever.
        let entry = unsafe { next.load(Ordering::Acquire).as_ref() }?;
        next = &entry.next;
        Some(entry)
    })
}

fn free_entry() -> &'static Entry {
    if let Some(entry) = entries().find(|entry| !entry.taken.swap(true, Ordering::AcqRel)) {
        return entry;
    }
    let entry: &'static mut Entry = Box::leak(Box::new(Entry {
        start: AtomicUsize::new(0),
        length: AtomicUsize::new(0),
        cut: AtomicBool::new(false),
        taken: AtomicBool::new(true),
        next: AtomicPtr::new(null_mut()),
    }));
    let mut head = ENTRIES.load(Ordering::Acquire);
    loop {
        *entry.next.get_mut() = head;
        match ENTRIES.compare_exchange(head, entry, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return entry,
            Err(found) => head = found,
        }
    }
}

/// Lays zeros over the missing page if it belongs to a watched range; `lay` gets the address. Returns whether it did.
fn mend(address: usize, lay: impl FnOnce(usize) -> bool) -> bool {
    let watched = entries().find(|entry| {
        let start = entry.start.load(Ordering::Acquire);
        start != 0 && address.wrapping_sub(start) < entry.length.load(Ordering::Relaxed)
    });
    watched.is_some_and(|entry| {
        entry.cut.store(true, Ordering::Release);
        lay(address)
    })
}

#[cfg(unix)]
pub(super) use handler::page_bytes;

#[cfg(unix)]
mod handler {
    use std::mem::zeroed;
    use std::ptr::{null, null_mut};
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    use super::mend;

    /// The handler before ours, never freed.
    static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(null_mut());
    /// How many signals are being passed on.
    static PASSED_ON: AtomicUsize = AtomicUsize::new(0);
    /// More than so many at once are one signal in a circle: the handler before ours has ours before it.
    const MOST_PASSED_ON: usize = 8;
    static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);

    /// Bytes of a page of memory.
    pub(in crate::shard) fn page_bytes() -> Option<usize> {
        // SAFETY: asks for a number.
        let bytes = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
        PAGE_BYTES.store(bytes, Ordering::Relaxed);
        bytes.is_power_of_two().then_some(bytes)
    }

    /// Puts the handler in place; somebody may have put another over it since.
    pub(super) fn install() -> Option<()> {
        page_bytes()?;
        let ours = handle as extern "C" fn(_, _, _) as usize;
        // SAFETY: the structures are plain data, and `handle` has the signature that SA_SIGINFO asks for.
        unsafe {
            let mut current: libc::sigaction = zeroed();
            if libc::sigaction(libc::SIGBUS, null(), &raw mut current) != 0 {
                return None;
            }
            if current.sa_sigaction == ours {
                return Some(());
            }
            PREVIOUS.store(Box::leak(Box::new(current)), Ordering::Release);
            let mut action: libc::sigaction = zeroed();
            action.sa_sigaction = ours;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            libc::sigemptyset(&raw mut action.sa_mask);
            (libc::sigaction(libc::SIGBUS, &raw const action, null_mut()) == 0).then_some(())
        }
    }

    extern "C" fn handle(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: the system hands over a valid structure.
        let address = unsafe { (*info).si_addr() } as usize;
        if !mend(address, lay_zeros) {
            pass_on(signal, info, context);
        }
    }

    fn lay_zeros(address: usize) -> bool {
        let page = PAGE_BYTES.load(Ordering::Relaxed);
        let first = (address & !(page - 1)) as *mut libc::c_void;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: the page belongs to a map that is only copied from, and `mmap` is a bare system call.
        unsafe { libc::mmap(first, page, libc::PROT_READ, flags, -1, 0) != libc::MAP_FAILED }
    }

    /// Does what would have been done without this module.
    fn pass_on(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: what is there was leaked by `install`.
        let previous = unsafe { PREVIOUS.load(Ordering::Acquire).as_ref() };
        let action = previous.map_or(libc::SIG_DFL, |previous| previous.sa_sigaction);
        let flags = previous.map_or(0, |previous| previous.sa_flags);
        let none = action == libc::SIG_DFL || action == libc::SIG_IGN;
        if none || PASSED_ON.fetch_add(1, Ordering::AcqRel) >= MOST_PASSED_ON {
            // SAFETY: the instruction is repeated when this returns, and then the system ends the process.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
            return;
        }
        if flags & libc::SA_SIGINFO != 0 {
            type Full = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: with SA_SIGINFO the number is such a function.
            let function = unsafe { std::mem::transmute::<usize, Full>(action) };
            function(signal, info, context);
        } else {
            // SAFETY: without SA_SIGINFO the number is such a function.
            let function = unsafe { std::mem::transmute::<usize, extern "C" fn(i32)>(action) };
            function(signal);
        }
        PASSED_ON.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Systems without such signals have no maps.
#[cfg(not(unix))]
pub(super) fn page_bytes() -> Option<usize> {
    None
}

#[cfg(not(unix))]
mod handler {
    pub(super) fn install() -> Option<()> {
        None
    }
}
