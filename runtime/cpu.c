/* Which instruction sets the processor has and the operating system has switched on, by LLVM's names. */
#define _GNU_SOURCE
#include <stddef.h>
#include <string.h>

#include "internal.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { EAX, EBX, ECX, EDX };
enum { PLAIN = 0, AVX_STATE = 0x6, AVX512_STATE = 0xe6, AMX_STATE = 0x60000 }; /* bits of XCR0 */

typedef struct row {
    const char *name;
    uint32_t leaf, subleaf;
    uint8_t part, bit;
    uint32_t state;
} row;

static const row rows[] = {
    {"cx8", 1, 0, EDX, 8, PLAIN},
    {"cmov", 1, 0, EDX, 15, PLAIN},
    {"mmx", 1, 0, EDX, 23, PLAIN},
    {"fxsr", 1, 0, EDX, 24, PLAIN},
    {"sse", 1, 0, EDX, 25, PLAIN},
    {"sse2", 1, 0, EDX, 26, PLAIN},
    {"sse3", 1, 0, ECX, 0, PLAIN},
    {"pclmul", 1, 0, ECX, 1, PLAIN},
    {"ssse3", 1, 0, ECX, 9, PLAIN},
    {"fma", 1, 0, ECX, 12, AVX_STATE},
    {"cx16", 1, 0, ECX, 13, PLAIN},
    {"sse4.1", 1, 0, ECX, 19, PLAIN},
    {"sse4.2", 1, 0, ECX, 20, PLAIN},
    {"crc32", 1, 0, ECX, 20, PLAIN},
    {"movbe", 1, 0, ECX, 22, PLAIN},
    {"popcnt", 1, 0, ECX, 23, PLAIN},
    {"aes", 1, 0, ECX, 25, PLAIN},
    {"xsave", 1, 0, ECX, 27, PLAIN},
    {"avx", 1, 0, ECX, 28, AVX_STATE},
    {"f16c", 1, 0, ECX, 29, AVX_STATE},
    {"rdrnd", 1, 0, ECX, 30, PLAIN},
    {"fsgsbase", 7, 0, EBX, 0, PLAIN},
    {"bmi", 7, 0, EBX, 3, PLAIN},
    {"avx2", 7, 0, EBX, 5, AVX_STATE},
    {"bmi2", 7, 0, EBX, 8, PLAIN},
    {"invpcid", 7, 0, EBX, 10, PLAIN},
    {"avx512f", 7, 0, EBX, 16, AVX512_STATE},
    {"avx512dq", 7, 0, EBX, 17, AVX512_STATE},
    {"rdseed", 7, 0, EBX, 18, PLAIN},
    {"adx", 7, 0, EBX, 19, PLAIN},
    {"avx512ifma", 7, 0, EBX, 21, AVX512_STATE},
    {"clflushopt", 7, 0, EBX, 23, PLAIN},
    {"clwb", 7, 0, EBX, 24, PLAIN},
    {"avx512cd", 7, 0, EBX, 28, AVX512_STATE},
    {"sha", 7, 0, EBX, 29, PLAIN},
    {"avx512bw", 7, 0, EBX, 30, AVX512_STATE},
    {"avx512vl", 7, 0, EBX, 31, AVX512_STATE},
    {"avx512vbmi", 7, 0, ECX, 1, AVX512_STATE},
    {"avx512vbmi2", 7, 0, ECX, 6, AVX512_STATE},
    {"gfni", 7, 0, ECX, 8, PLAIN},
    {"vaes", 7, 0, ECX, 9, AVX_STATE},
    {"vpclmulqdq", 7, 0, ECX, 10, AVX_STATE},
    {"avx512vnni", 7, 0, ECX, 11, AVX512_STATE},
    {"avx512bitalg", 7, 0, ECX, 12, AVX512_STATE},
    {"avx512vpopcntdq", 7, 0, ECX, 14, AVX512_STATE},
    {"avx512vp2intersect", 7, 0, EDX, 8, AVX512_STATE},
    {"amx-bf16", 7, 0, EDX, 22, AMX_STATE},
    {"avx512fp16", 7, 0, EDX, 23, AVX512_STATE},
    {"amx-tile", 7, 0, EDX, 24, AMX_STATE},
    {"amx-int8", 7, 0, EDX, 25, AMX_STATE},
    {"avxvnni", 7, 1, EAX, 4, AVX_STATE},
    {"avx512bf16", 7, 1, EAX, 5, AVX512_STATE},
    {"avxifma", 7, 1, EAX, 23, AVX_STATE},
    {"avxvnniint8", 7, 1, EDX, 4, AVX_STATE},
    {"avxneconvert", 7, 1, EDX, 5, AVX_STATE},
    {"avxvnniint16", 7, 1, EDX, 10, AVX_STATE},
    {"xsaveopt", 0xd, 1, EAX, 0, PLAIN},
    {"xsavec", 0xd, 1, EAX, 1, PLAIN},
    {"xsaves", 0xd, 1, EAX, 3, PLAIN},
    {"sahf", 0x80000001u, 0, ECX, 0, PLAIN},
    {"lzcnt", 0x80000001u, 0, ECX, 5, PLAIN},
    {"sse4a", 0x80000001u, 0, ECX, 6, PLAIN},
    {"prfchw", 0x80000001u, 0, ECX, 8, PLAIN},
    {"fma4", 0x80000001u, 0, ECX, 16, AVX_STATE},
    {"64bit", 0x80000001u, 0, EDX, 29, PLAIN},
};

/* XCR0: the register states that the operating system saves; 0 where it saves none. */
static uint32_t saved_states(void) {
    uint32_t a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    (void)high;
    return low;
}

/* Linux lets a process use registers of tiles, which are large, once it has asked; asking again does nothing. */
static int tiles_granted(void) {
    enum { REQUEST_STATE = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_STATE, TILE_DATA) == 0;
}

static int present(const row *feature) {
    uint32_t parts[4], leaves, b, c, d;
    if (feature->leaf == 7 && feature->subleaf > 0) {
        if (!__get_cpuid_count(7, 0, &leaves, &b, &c, &d) || leaves < feature->subleaf) return 0;
    }
    if (!__get_cpuid_count(feature->leaf, feature->subleaf, &parts[0], &parts[1], &parts[2], &parts[3])) return 0;
    if (!(parts[feature->part] >> feature->bit & 1)) return 0;
    if (feature->state != PLAIN && (saved_states() & feature->state) != feature->state) return 0;
    return feature->state != AMX_STATE || tiles_granted();
}

#elif defined(__aarch64__) || defined(__arm__)
#include <sys/auxv.h>

/* Bits that the kernel publishes: all of `hwcap` and `hwcap2` are needed. */
typedef struct row {
    const char *name;
    unsigned long hwcap, hwcap2;
} row;

#define BIT(n) (1ul << (n))

static const row rows[] = {
#ifdef __aarch64__
    {"v8a", 0, 0},
    {"fp-armv8", BIT(0), 0},
    {"neon", BIT(1), 0},
    {"aes", BIT(3), 0},
    {"sha2", BIT(6), 0},
    {"crc", BIT(7), 0},
    {"lse", BIT(8), 0},
    {"fullfp16", BIT(9) | BIT(10), 0},
    {"rdm", BIT(12), 0},
    {"rcpc", BIT(15), 0},
    {"sha3", BIT(17), 0},
    {"dotprod", BIT(20), 0},
    {"sve", BIT(22), 0},
    {"fp16fml", BIT(23), 0},
    {"sve2", 0, BIT(1)},
    {"i8mm", 0, BIT(13)},
    {"bf16", 0, BIT(14)},
    {"sme", 0, BIT(23)},
#else
    {"v7", 0, 0},
    {"thumb2", BIT(1), 0},
    {"vfp2", BIT(6), 0},
    {"dsp", BIT(7), 0},
    {"neon", BIT(12), 0},
    {"vfp3", BIT(13) | BIT(19), 0},
    {"vfp3d16", BIT(13), 0},
    {"vfp4", BIT(16) | BIT(19), 0},
    {"vfp4d16", BIT(16), 0},
    {"fp16", BIT(16), 0},
    {"hwdiv-arm", BIT(17), 0},
    {"hwdiv", BIT(18), 0},
    {"d32", BIT(19), 0},
    {"fullfp16", BIT(22) | BIT(23), 0},
    {"dotprod", BIT(24), 0},
    {"fp16fml", BIT(25), 0},
    {"bf16", BIT(26), 0},
    {"i8mm", BIT(27), 0},
    {"crc", 0, BIT(4)},
#endif
};

static int present(const row *feature) {
    unsigned long hwcap = getauxval(AT_HWCAP), hwcap2 = getauxval(AT_HWCAP2);
    return (hwcap & feature->hwcap) == feature->hwcap && (hwcap2 & feature->hwcap2) == feature->hwcap2;
}

#else
#error "Secateur's runtime knows x86-64, AArch64 and ARMv7"
#endif

int rt_cpu_has(const char *feature) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].name, feature) == 0) return present(&rows[i]);
    return 0;
}
