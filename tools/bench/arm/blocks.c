/* A plugin of qemu-user that counts how often each block of AArch64 code is executed.
 *
 * The file that the argument `out=` names gets a line whenever the program asks for the time (clock_gettime, which
 * `bench` does before and after all that it times) and one at its end: "t" and, for each block executed since the
 * last, its number and how often. Lines "b" at the end give each block's number, address and instructions.
 *
 * Declarations as in count.c, and why.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef QEMU_PLUGIN_API
#define QEMU_PLUGIN_API 1
#endif
#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { QEMU_PLUGIN_CB_NO_REGS };

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                                  void (*call)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, void (*call)(unsigned, void *), int flags,
                                                 void *data);
extern void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id,
                                                 void (*call)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t,
                                                              uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                                                              uint64_t));
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*call)(qemu_plugin_id_t, void *), void *data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
#if QEMU_PLUGIN_API < 3
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction);
#else
extern size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction, void *to, size_t length);
#endif

EXPORT int qemu_plugin_version = QEMU_PLUGIN_API;

enum { CLOCK_GETTIME = 113 }; /* of AArch64 */

typedef struct block {
    struct block *next;
    uint64_t number, address, executed, told;
    size_t length;
    uint32_t words[];
} block;

static block *blocks; /* the newest first; a block that is translated again is one more */
static FILE *out;

static void executed(unsigned cpu, void *data) {
    (void)cpu;
    ((block *)data)->executed++;
}

static uint32_t word_of(const struct qemu_plugin_insn *instruction) {
    uint32_t word = 0;
#if QEMU_PLUGIN_API < 3
    memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
#else
    qemu_plugin_insn_data(instruction, &word, sizeof word);
#endif
    return word;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *code) {
    (void)id;
    size_t length = qemu_plugin_tb_n_insns(code);
    block *record = calloc(1, sizeof *record + length * sizeof *record->words);
    if (!record) abort();
    record->next = blocks, record->number = blocks ? blocks->number + 1 : 0;
    record->address = qemu_plugin_tb_vaddr(code), record->length = length;
    for (size_t i = 0; i < length; i++) record->words[i] = word_of(qemu_plugin_tb_get_insn(code, i));
    blocks = record;
    qemu_plugin_register_vcpu_tb_exec_cb(code, executed, QEMU_PLUGIN_CB_NO_REGS, record);
}

static void print_counts(void) {
    fputc('t', out);
    for (block *at = blocks; at; at = at->next) {
        if (at->executed != at->told) fprintf(out, " %" PRIu64 ":%" PRIu64, at->number, at->executed - at->told);
        at->told = at->executed;
    }
    fputc('\n', out);
}

static void print_block(const block *known) {
    fprintf(out, "b %" PRIu64 " %" PRIu64, known->number, known->address);
    for (size_t i = 0; i < known->length; i++) fprintf(out, " %" PRIx32, known->words[i]);
    fputc('\n', out);
}

static void called(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                   uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)cpu, (void)a1, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == CLOCK_GETTIME) print_counts();
}

static void ended(qemu_plugin_id_t id, void *data) {
    (void)id, (void)data;
    print_counts();
    for (const block *at = blocks; at; at = at->next) print_block(at);
    fclose(out);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0 || !(out = fopen(argv[0] + 4, "w"))) {
        fprintf(stderr, "blocks: give out=FILE, a file that can be written\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
