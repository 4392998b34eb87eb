/* A plugin of qemu-user that counts executed AArch64 instructions by class, or those of ARMv7 in all.
 *
 * One line goes to the file that the argument `out=` names whenever the program asks for the time
 * (clock_gettime, which `bench` does before and after all that it times) and one at its end: the counts so far,
 * in the order of `enum class`. Differences of lines are what lies between.
 */
#include "plugin.h"

#include <stdbool.h>

enum class { FMLA32, FMLA16, DOT, MATRIX, WIDENING, VLOAD, VSTORE, VOTHER, GLDST, BRANCH, INTEGER, CLASSES };

typedef struct pattern {
    uint32_t mask, value;
    enum class class;
} pattern;

/* Multiplications, from the tables of the Arm Architecture Reference Manual, "Data Processing -- Scalar Floating-Point
 * and Advanced SIMD". Q (bit 30) is left open. */
static const pattern multiplications[] = {
    {0xbfa0fc00, 0x0e20cc00, FMLA32},   /* fmla, vectors */
    {0xbfa0fc00, 0x0ea0cc00, FMLA32},   /* fmls */
    {0xbf80f400, 0x0f801000, FMLA32},   /* fmla by element */
    {0xbf80f400, 0x0f805000, FMLA32},   /* fmls by element */
    {0xffc00000, 0x1fc00000, FMLA16},   /* fmadd and its family, scalar: half */
    {0xff000000, 0x1f000000, FMLA32},   /* the same: single, double */
    {0xbfe0fc00, 0x0e400c00, FMLA16},   /* fmla, half */
    {0xbfe0fc00, 0x0ec00c00, FMLA16},   /* fmls, half */
    {0xbfc0f400, 0x0f001000, FMLA16},   /* fmla by element, half */
    {0xbfc0f400, 0x0f005000, FMLA16},   /* fmls by element, half */
    {0x9fe0fc00, 0x0e809400, DOT},      /* sdot, udot */
    {0xbfe0fc00, 0x0e809c00, DOT},      /* usdot */
    {0x9fc0f400, 0x0f80e000, DOT},      /* sdot, udot by element */
    {0xbf40f400, 0x0f00f000, DOT},      /* usdot, sudot by element */
    {0xdfe0fc00, 0x4e80a400, MATRIX},   /* smmla, ummla */
    {0xffe0fc00, 0x4e80ac00, MATRIX},   /* usmmla */
    {0x9f20fc00, 0x0e208000, WIDENING}, /* smlal, umlal */
    {0x9f20fc00, 0x0e20a000, WIDENING}, /* smlsl, umlsl */
    {0x9f20fc00, 0x0e20c000, WIDENING}, /* smull, umull */
    {0x9f00f400, 0x0f002000, WIDENING}, /* smlal, umlal by element */
    {0x9f00f400, 0x0f006000, WIDENING}, /* smlsl, umlsl by element */
    {0x9f00f400, 0x0f00a000, WIDENING}, /* smull, umull by element */
    {0x9f20fc00, 0x0e209400, WIDENING}, /* mla, mls */
    {0xbf00f400, 0x2f000000, WIDENING}, /* mla by element */
    {0xbf00f400, 0x2f004000, WIDENING}, /* mls by element */
    {0x9f3ffc00, 0x0e206800, WIDENING}, /* sadalp, uadalp */
};

static enum class arithmetic(uint32_t word) {
    for (size_t i = 0; i < sizeof multiplications / sizeof *multiplications; i++)
        if ((word & multiplications[i].mask) == multiplications[i].value) return multiplications[i].class;
    return VOTHER;
}

/* Bit 26 tells vector registers from general ones, bit 22 a load of them from a store, literals being loads. */
static enum class access_(uint32_t word) {
    if (!(word >> 26 & 1)) return GLDST;
    bool literal = (word >> 27 & 7) == 3;
    return literal || (word >> 22 & 1) ? VLOAD : VSTORE;
}

/* By op0, bits 28 to 25: "A64 instruction set encoding". Those of ARMv7 are not told apart. */
static enum class class_of(uint32_t word) {
    if (narrow) return INTEGER;
    uint32_t op0 = word >> 25 & 15;
    if ((op0 & 5) == 4) return access_(word);
    if ((op0 & 7) == 7) return arithmetic(word);
    if ((op0 & 14) == 10) return (word >> 24 & 0xfe) == 0xd4 ? INTEGER : BRANCH; /* system calls and registers */
    return op0 == 2 ? VOTHER : INTEGER;                                         /* 2: SVE */
}

typedef struct block {
    uint32_t counts[CLASSES];
} block;

static uint64_t total[CLASSES];

static void executed(unsigned cpu, void *data) {
    (void)cpu;
    for (int i = 0; i < CLASSES; i++) total[i] += ((const block *)data)->counts[i];
}

/* A block that is translated again gets a record of its own, and the old one is kept: code may still run it. */
static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *code) {
    (void)id;
    block *record = calloc(1, sizeof *record);
    if (!record) abort();
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(code); i++)
        record->counts[class_of(word_of(qemu_plugin_tb_get_insn(code, i)))]++;
    qemu_plugin_register_vcpu_tb_exec_cb(code, executed, QEMU_PLUGIN_CB_NO_REGS, record);
}

static void asked(void) {
    for (int i = 0; i < CLASSES; i++) fprintf(out, "%" PRIu64 "%c", total[i], i + 1 < CLASSES ? ' ' : '\n');
}

static void ended(void) {
    asked();
}
