// How the inner loops are built for several instruction sets at once.
#ifndef SUPERPIXEL_SIMD_H
#define SUPERPIXEL_SIMD_H

// A function marked so is compiled for AVX-512, AVX2 and plain x86-64, and the processor's best is chosen when the
// program starts; other machines get the plain build. Every build gives the same bits: the code is compiled without
// fused multiply-add (-ffp-contract=off) and no sum runs across lanes of floats.
// Sanitizers do not work in programs whose functions are chosen that early.
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define EACH_INSTRUCTION_SET __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define EACH_INSTRUCTION_SET
#endif

#endif
