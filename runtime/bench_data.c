/* Tensors in files: NumPy's .npy (format 1 and 2), or the bare bytes. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_LIMIT = 65536, PREAMBLE = 10, ALIGNMENT = 64 };

static const char *const npy_types[] = {"<f4", "<f2", "<f8", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "|b1"};

static int is_npy(const char *path) {
    size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, ".npy") == 0;
}

/* The shape as NumPy prints it, such as "(1, 3, 32, 32)". */
static void shape_text(const secateur_tensor *tensor, char *text, size_t size) {
    size_t at = (size_t)snprintf(text, size, "(");
    for (int32_t i = 0; i < tensor->rank && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, i ? ", %lld" : "%lld", (long long)tensor->dims[i]);
    if (at < size) snprintf(text + at, size - at, tensor->rank == 1 ? ",)" : ")");
}

static const char *check_header(const char *header, const secateur_tensor *tensor) {
    char shape[512], type[16];
    shape_text(tensor, shape, sizeof shape);
    snprintf(type, sizeof type, "'%s'", npy_types[tensor->dtype]);
    if (!strstr(header, type)) return "the array has another element type than the input";
    if (!strstr(header, "'fortran_order': False")) return "the array is in Fortran order";
    return strstr(header, shape) ? NULL : "the array has another shape than the input";
}

static const char *read_npy_header(FILE *file, const secateur_tensor *tensor) {
    unsigned char start[PREAMBLE + 2];
    if (fread(start, 1, PREAMBLE, file) != PREAMBLE || memcmp(start, "\x93NUMPY", 6) != 0) return "not a .npy file";
    size_t length = start[8] | (size_t)start[9] << 8;
    if (start[6] > 1) {
        if (fread(start + PREAMBLE, 1, 2, file) != 2) return "the file is cut short";
        length |= (size_t)start[10] << 16 | (size_t)start[11] << 24;
    }
    if (length >= HEADER_LIMIT) return "the .npy header is too long";
    char *header = calloc(1, length + 1);
    if (!header) return "no memory";
    const char *error = fread(header, 1, length, file) == length ? check_header(header, tensor) : "the file is cut short";
    free(header);
    return error;
}

static const char *read_data(FILE *file, const secateur_tensor *tensor, void *data) {
    if (fread(data, 1, (size_t)tensor->bytes, file) != tensor->bytes) return "the file is shorter than the input";
    return fgetc(file) == EOF ? NULL : "the file is longer than the input";
}

const char *bench_read(const char *path, const secateur_tensor *tensor, void *data) {
    FILE *file = fopen(path, "rb");
    if (!file) return "the file cannot be opened";
    const char *error = is_npy(path) ? read_npy_header(file, tensor) : NULL;
    if (!error) error = read_data(file, tensor, data);
    fclose(file);
    return error;
}

static void write_npy_header(FILE *file, const secateur_tensor *tensor) {
    char shape[512], header[640];
    shape_text(tensor, shape, sizeof shape);
    int length = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }",
                          npy_types[tensor->dtype], shape);
    int padded = (PREAMBLE + length + ALIGNMENT) / ALIGNMENT * ALIGNMENT - PREAMBLE;
    const unsigned char start[PREAMBLE] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)(padded & 255),
                                           (unsigned char)(padded >> 8)};
    fwrite(start, 1, PREAMBLE, file);
    fprintf(file, "%-*s\n", padded - 1, header);
}

const char *bench_write(const char *path, const secateur_tensor *tensor, const void *data) {
    FILE *file = fopen(path, "wb");
    if (!file) return "the file cannot be written";
    if (is_npy(path)) write_npy_header(file, tensor);
    int failed = fwrite(data, 1, (size_t)tensor->bytes, file) != tensor->bytes;
    failed |= fclose(file) != 0;
    return failed ? "the file cannot be written" : NULL;
}

static uint32_t next_random(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33); /* 31 bits */
}

static void fill_floats(const secateur_tensor *tensor, void *data, uint64_t seed) {
    size_t width = tensor->dtype == SECATEUR_F64 ? 8 : tensor->dtype == SECATEUR_F32 ? 4 : 2;
    for (size_t i = 0; i < tensor->bytes / width; i++) {
        uint32_t random = next_random(&seed);
        double value = random / 1073741824.0 - 1;
        if (width == 8) ((double *)data)[i] = value;
        else if (width == 4) ((float *)data)[i] = (float)value;
        else ((uint16_t *)data)[i] = (uint16_t)(0x3800 | (random & 0x83ff)); /* +-[0.5, 1) as half bits */
    }
}

void bench_fill(const secateur_tensor *tensor, void *data, uint64_t seed) {
    static const uint8_t widths[] = {4, 2, 8, 1, 1, 2, 2, 4, 4, 8, 8, 1};
    if (tensor->dtype <= SECATEUR_F64) {
        fill_floats(tensor, data, seed);
        return;
    }
    size_t width = widths[tensor->dtype];
    uint32_t mask = tensor->dtype == SECATEUR_BOOL ? 1 : 7;
    memset(data, 0, (size_t)tensor->bytes);
    for (size_t i = 0; i < tensor->bytes; i += width) ((unsigned char *)data)[i] = (unsigned char)(next_random(&seed) & mask);
}
