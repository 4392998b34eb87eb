/* What our plugins of qemu-user share: QEMU's functions, an instruction's word, and the file that `out=` names.
 *
 * A plugin defines `translated`, which is told of every block of code, `asked`, called whenever the program asks for
 * the time (clock_gettime, which `bench` does before and after all that it times), and `ended`.
 *
 * Only functions that every plugin interface since QEMU 7.0 has are used. They are declared here, since few
 * systems install qemu-plugin.h; QEMU_PLUGIN_API is the version that the QEMU at hand wants.
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

/* Of AArch64, and the two of ARMv7, for seconds of 32 and of 64 bits. */
enum { CLOCK_GETTIME = 113, CLOCK_GETTIME_ARM = 263, CLOCK_GETTIME64_ARM = 403 };

static FILE *out;
static int narrow; /* the program is for ARMv7 */

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *code);
static void asked(void);
static void ended(void);

static uint32_t word_of(const struct qemu_plugin_insn *instruction) {
    uint32_t word = 0;
#if QEMU_PLUGIN_API < 3
    memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
#else
    qemu_plugin_insn_data(instruction, &word, sizeof word);
#endif
    return word;
}

static void called(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                   uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)cpu, (void)a1, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (narrow ? number == CLOCK_GETTIME_ARM || number == CLOCK_GETTIME64_ARM : number == CLOCK_GETTIME) asked();
}

static void exited(qemu_plugin_id_t id, void *data) {
    (void)id, (void)data;
    ended();
    fclose(out);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
    const char *const *target = (const void *)info; /* whose name the record begins with */
    narrow = !strcmp(*target, "arm");
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0 || !(out = fopen(argv[0] + 4, "w"))) {
        fprintf(stderr, "give out=FILE, a file that can be written\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    qemu_plugin_register_atexit_cb(id, exited, NULL);
    return 0;
}
