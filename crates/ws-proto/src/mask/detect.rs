//! Which instruction sets the processor has and the operating system saves.
//!
//! `core` has no feature detection, so this asks the processor; the answer is kept.

use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use core::sync::atomic::{AtomicU8, Ordering};

/// What the kernels may use, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Level {
    Baseline = 1,
    Avx2 = 2,
    Avx512 = 3,
}

/// 0: not asked yet. Racing threads find the same answer.
static LEVEL: AtomicU8 = AtomicU8::new(0);

#[inline]
pub(super) fn level() -> Level {
    match LEVEL.load(Ordering::Relaxed) {
        1 => Level::Baseline,
        2 => Level::Avx2,
        3 => Level::Avx512,
        _ => detect(),
    }
}

#[cold]
fn detect() -> Level {
    let found = ask();
    LEVEL.store(found as u8, Ordering::Relaxed);
    found
}

fn ask() -> Level {
    const OSXSAVE: u32 = 1 << 27;
    const AVX: u32 = 1 << 28;
    const AVX2: u32 = 1 << 5;
    const AVX512F_BW: u32 = 1 << 16 | 1 << 30;
    // State that the operating system saves: SSE and AVX; opmask and both ZMM halves.
    const YMM_STATE: u64 = 0b110;
    const ZMM_STATE: u64 = 0b1110_0110;

    let leaf_max = __cpuid(0).eax;
    let basic = __cpuid(1).ecx;
    if leaf_max < 7 || basic & OSXSAVE == 0 || basic & AVX == 0 {
        return Level::Baseline;
    }
    // SAFETY: OSXSAVE says that XGETBV exists and that register 0 may be read.
    let state = unsafe { read_state() };
    let extended = __cpuid_count(7, 0).ebx;
    if state & YMM_STATE != YMM_STATE || extended & AVX2 == 0 {
        return Level::Baseline;
    }
    if state & ZMM_STATE == ZMM_STATE && extended & AVX512F_BW == AVX512F_BW {
        return Level::Avx512;
    }
    Level::Avx2
}

#[target_feature(enable = "xsave")]
fn read_state() -> u64 {
    // SAFETY: register 0 always exists where XGETBV does.
    unsafe { _xgetbv(0) }
}
