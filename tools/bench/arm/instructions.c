/* A plugin of QEMU: counts the instructions of a program's first thread, and writes the count at each of its getppid().
 *
 *     gcc -shared -fPIC -O2 instructions.c -o instructions.so
 *     qemu-aarch64 -plugin ./instructions.so,out=FILE PROGRAM
 *
 * Declared by hand, since Debian's qemu-user comes without qemu-plugin.h: version 1 of the interface, QEMU 6.0 to 8.2. */

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { NO_REGISTERS = 0, GETPPID = 173 }; /* the latter on aarch64 */

typedef uint64_t word;
struct qemu_plugin_tb;

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, void (*callback)(unsigned, void *), int registers,
                                          void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(word id, void (*callback)(word, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_syscall_cb(word id, void (*callback)(word, unsigned, int64_t, word, word, word, word, word,
                                                                    word, word, word));

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static word count;
static FILE *out;

static void executed(unsigned thread, void *instructions) {
    if (thread == 0) /* ONNX Runtime's telemetry works in another, at any time */
        count += (word)instructions;
}

static void translated(word id, struct qemu_plugin_tb *block) {
    qemu_plugin_register_vcpu_tb_exec_cb(block, executed, NO_REGISTERS, (void *)qemu_plugin_tb_n_insns(block));
}

static void called(word id, unsigned thread, int64_t number, word a, word b, word c, word d, word e, word f, word g,
                   word h) {
    if (thread == 0 && number == GETPPID) {
        fprintf(out, "%llu\n", (unsigned long long)count);
        fflush(out);
    }
}

__attribute__((visibility("default"))) int qemu_plugin_install(word id, const void *info, int argc, char **argv) {
    if (argc != 1 || strncmp(argv[0], "out=", 4) || !(out = fopen(argv[0] + 4, "w"))) {
        fputs("instructions.so: give out=FILE\n", stderr);
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
