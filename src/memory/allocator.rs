//! mimalloc, with a second heap for those who may spill.

#![expect(unsafe_code, reason = "an allocator is")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use libmimalloc_sys as mi;

use super::file;

/// Ordinary memory is near its bound.
static TIGHT: AtomicBool = AtomicBool::new(false);

thread_local! {
    static SPILLS: Cell<bool> = const { Cell::new(false) };
}

/// Whether memory comes from the file now, where it may.
pub fn is_tight() -> bool {
    TIGHT.load(Relaxed)
}

pub(super) fn set_tight(tight: bool) {
    TIGHT.store(tight, Relaxed);
}

/// While it lives, what this thread allocates may lie in the file.
pub struct Spilling {
    before: bool,
    /// It is about this thread, so it stays here.
    here: PhantomData<*const ()>,
}

impl Spilling {
    pub fn begin() -> Self {
        Self { before: SPILLS.replace(true), here: PhantomData }
    }
}

impl Drop for Spilling {
    fn drop(&mut self) {
        SPILLS.set(self.before);
    }
}

/// The heap in the file, if the memory is to come from there.
fn spill() -> Option<*mut mi::mi_heap_t> {
    if TIGHT.load(Relaxed) && SPILLS.get() { file::heap() } else { None }
}

pub struct Allocator;

// SAFETY: each call is passed on to mimalloc, whose blocks of all heaps are freed by the same call. A heap
// that has no room (the disk is full) answers with null, and the other is asked.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        if let Some(heap) = spill() {
            // SAFETY: the heap lives as long as the process; size and alignment are a layout's.
            let block = unsafe { mi::mi_heap_malloc_aligned(heap, size, align) };
            if !block.is_null() {
                return block.cast();
            }
        }
        // SAFETY: size and alignment are a layout's.
        unsafe { mi::mi_malloc_aligned(size, align).cast() }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        if let Some(heap) = spill() {
            // SAFETY: as in `alloc`.
            let block = unsafe { mi::mi_heap_zalloc_aligned(heap, size, align) };
            if !block.is_null() {
                return block.cast();
            }
        }
        // SAFETY: as in `alloc`.
        unsafe { mi::mi_zalloc_aligned(size, align).cast() }
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller's block came from here.
        unsafe { mi::mi_free(block.cast()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let align = layout.align();
        if let Some(heap) = spill() {
            // SAFETY: the caller's block came from here; null leaves it as it was.
            let moved = unsafe { mi::mi_heap_realloc_aligned(heap, block.cast(), size, align) };
            if !moved.is_null() {
                return moved.cast();
            }
        }
        // SAFETY: as above.
        unsafe { mi::mi_realloc_aligned(block.cast(), size, align).cast() }
    }
}
