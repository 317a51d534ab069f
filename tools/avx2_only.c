/* Run a program as if its x86-64 processor knew AVX2 but neither AVX512, VNNI nor AMX (Linux, Intel).
 *
 *   gcc -O2 -shared -fPIC -o avx2_only.so tools/avx2_only.c
 *   LD_PRELOAD=$PWD/avx2_only.so python -c ...
 *
 * ONNX Runtime asks CPUID which kernels to use and has no setting that holds it back. Linux can let CPUID trap
 * (arch_prctl ARCH_CPUID, flag cpuid_fault in /proc/cpuinfo); the handler answers with those bits cleared.
 * Exit code 77 where the processor cannot trap. See docs/decisions/0013-int8.md.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_CPUID 0x1012

static uint32_t bits(const int *numbers, int n) {
    uint32_t all = 0;
    for (int i = 0; i < n; i++) all |= 1u << numbers[i];
    return all;
}
#define BITS(...) bits((const int[]){__VA_ARGS__}, sizeof((int[]){__VA_ARGS__}) / sizeof(int))

/* Intel SDM volume 2A, CPUID: leaf 7 names AVX512, AMX and every VNNI. */
static void forget(uint32_t leaf, uint32_t subleaf, uint32_t r[4]) {
    if (leaf == 7 && subleaf == 0) {
        r[1] &= ~BITS(16, 17, 21, 26, 27, 28, 30, 31);
        r[2] &= ~BITS(1, 6, 11, 12, 14);
        r[3] &= ~BITS(2, 3, 8, 22, 23, 24, 25);
    }
    if (leaf == 7 && subleaf == 1) {
        r[0] &= ~BITS(4, 5, 21, 23);
        r[3] &= ~BITS(4, 5, 8, 10, 19);
    }
}

static void answer(int signal_number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *code = (const uint8_t *)registers[REG_RIP];
    (void)info;
    if (code[0] != 0x0f || code[1] != 0xa2) { /* not CPUID: a true fault, which comes again */
        signal(signal_number, SIG_DFL);
        return;
    }
    uint32_t leaf = (uint32_t)registers[REG_RAX], subleaf = (uint32_t)registers[REG_RCX], r[4];
    syscall(SYS_arch_prctl, ARCH_CPUID, 1);
    __cpuid_count(leaf, subleaf, r[0], r[1], r[2], r[3]);
    syscall(SYS_arch_prctl, ARCH_CPUID, 0);
    forget(leaf, subleaf, r);
    registers[REG_RAX] = r[0];
    registers[REG_RBX] = r[1];
    registers[REG_RCX] = r[2];
    registers[REG_RDX] = r[3];
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void) {
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSEGV, &action, 0);
    if (syscall(SYS_arch_prctl, ARCH_CPUID, 0) != 0) _exit(77);
}
