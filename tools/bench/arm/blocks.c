/* A plugin of qemu-user that counts how often each block of AArch64 code is executed.
 *
 * The file that the argument `out=` names gets a line whenever the program asks for the time (clock_gettime, which
 * `bench` does before and after all that it times) and one at its end: "t" and, for each block executed since the
 * last, its number and how often. Lines "b" at the end give each block's number, address and instructions.
 */
#include "plugin.h"

typedef struct block {
    struct block *next;
    uint64_t number, address, executed, told;
    size_t length;
    uint32_t words[];
} block;

static block *blocks; /* the newest first; a block that is translated again is one more */

static void executed(unsigned cpu, void *data) {
    (void)cpu;
    ((block *)data)->executed++;
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

static void asked(void) {
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

static void ended(void) {
    asked();
    for (const block *at = blocks; at; at = at->next) print_block(at);
}
