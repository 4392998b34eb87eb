/* Winograd's transform of filters, step by step as ir/filters.py: no product is fused with a sum. */
#include "transform.h"

#include <string.h>

static const float ONE = 32768.0f, LARGEST = 127.0f, LEAST = 1e-30f;

static inline double sum(const double *row, double a, double b, double c) { return (row[0] * a + row[1] * b) + row[2] * c; }

/* G g G^T of one filter and channel, one tap after the other. */
static inline void transformed(const rt_transform *t, const double *g, double *taps) {
    for (uint32_t i = 0; i < t->tall; i++) {
        const double *down = t->down + 3 * i;
        double a = sum(down, g[0], g[3], g[6]), b = sum(down, g[1], g[4], g[7]), c = sum(down, g[2], g[5], g[8]);
        for (uint32_t j = 0; j < t->wide; j++) *taps++ = sum(t->across + 3 * j, a, b, c);
    }
}

static uint64_t place(const rt_digit *digits, uint32_t number) {
    uint64_t at = 0;
    for (; digits->extent; number /= digits->extent, digits++) at += (uint64_t)(number % digits->extent) * digits->stride;
    return at;
}

/* A number of binary16, and the nearest of binary16 to one, halves to even. Filters are finite. */
static double of_half(uint32_t half) {
    uint32_t exponent = half >> 10 & 31, part = half & 1023;
    double size = exponent ? 1024 + part : part;
    for (uint32_t i = exponent ? exponent : 1; i < 25; i++) size *= 0.5;
    for (uint32_t i = 25; i < exponent; i++) size *= 2;
    return half >> 15 ? -size : size;
}

static uint16_t half_of(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t sign = (uint32_t)(bits >> 48) & 0x8000;
    double size = x < 0 ? -x : x;
    if (size < 6.103515625e-05) return (uint16_t)(sign | (uint32_t)(size * 16777216.0 + 4503599627370496.0 - 4503599627370496.0));
    if (!(size < 65520)) return (uint16_t)(sign | 0x7c00);
    bits &= UINT64_MAX >> 1;
    bits += (1ull << 41) - 1 + (bits >> 42 & 1);
    return (uint16_t)(sign | ((uint32_t)(bits >> 42) - ((1023 - 15) << 10)));
}

void rt_transform_floats(const rt_transform *t, const void *filters, unsigned char *weights) {
    float *out = (float *)(void *)(weights + t->to);
    const float *floats = filters;
    uint16_t *halves_out = (uint16_t *)(void *)out;
    const uint16_t *halves = filters;
    uint32_t count = t->tall * t->wide;
    for (uint32_t m = 0; m < t->filters; m++) {
        uint64_t base = place(t->filter_digits, m);
        for (uint32_t c = 0; c < t->channels; c++, floats += 9, halves += 9) {
            double g[9], taps[RT_MOST_TAPS];
            uint64_t at = base + place(t->channel_digits, c);
            for (int i = 0; i < 9; i++) g[i] = t->half ? of_half(halves[i]) : (double)floats[i];
            transformed(t, g, taps);
            if (t->half) for (uint32_t k = 0; k < count; k++) halves_out[at + (uint64_t)k * t->tap] = half_of(taps[k]);
            else for (uint32_t k = 0; k < count; k++) out[at + (uint64_t)k * t->tap] = (float)taps[k];
        }
    }
}

static double weighted(const double *row, const double *terms, uint32_t step, uint32_t count) {
    double total = 0;
    for (uint32_t i = 0; i < count; i++) total += row[i] * terms[i * step];
    return total;
}

/* G g G^T of filters of any side. */
static void spread(const rt_transform *t, const double *g, double *taps) {
    uint32_t side = t->side;
    double columns[RT_MOST_SIDE];
    for (uint32_t i = 0; i < t->tall; i++) {
        for (uint32_t j = 0; j < side; j++) columns[j] = weighted(t->down + side * i, g + j, side, side);
        for (uint32_t j = 0; j < t->wide; j++) *taps++ = weighted(t->across + side * j, columns, 1, side);
    }
}

/* Whole numbers far below 2^53, exact in any order. */
void rt_transform_words(const rt_transform *t, const int8_t *filters, unsigned char *weights) {
    int16_t *out = (int16_t *)(void *)(weights + t->to);
    uint32_t count = t->tall * t->wide, size = t->side * t->side;
    for (uint32_t m = 0; m < t->filters; m++) {
        uint64_t base = place(t->filter_digits, m);
        for (uint32_t c = 0; c < t->channels; c++, filters += size) {
            double g[RT_MOST_SIDE * RT_MOST_SIDE], taps[RT_MOST_TAPS];
            uint64_t at = base + place(t->channel_digits, c);
            for (uint32_t i = 0; i < size; i++) g[i] = (double)filters[i];
            if (t->side == 3) transformed(t, g, taps);
            else spread(t, g, taps);
            for (uint32_t k = 0; k < count; k++) out[at + (uint64_t)k * t->tap] = (int16_t)taps[k];
        }
    }
}

/* To the nearest whole number, halves to even, of what is far below 2^22 in size. */
static inline float nearest(float x) {
    float large = x + 12582912.0f;
    return large - 12582912.0f;
}

static float reach_of(const float *y, uint32_t count) {
    float most = LEAST;
    for (uint32_t c = 0; c < count; c++) {
        float size = y[c] < 0 ? -y[c] : y[c];
        most = size > most ? size : most;
    }
    return most;
}

/* One tap of a filter to its place; the sum of what was put there. */
static int32_t put(const rt_transform *t, const float *y, const uint32_t *places, float factor, int8_t *out) {
    int32_t total = 0;
    for (uint32_t c = 0; c < t->channels; c++) {
        float x = nearest(y[c] * factor);
        int32_t whole = (int32_t)(x < -LARGEST ? -LARGEST : x > LARGEST ? LARGEST : x);
        out[places[c]] = (int8_t)whole;
        total += whole;
    }
    return total;
}

/* Steps of taps and channels: 2^15 by the factor. */
static void fill_steps(const rt_transform *t, const unsigned char *weights, float *steps) {
    const int16_t *shorts = (const int16_t *)(const void *)(weights + t->factors);
    const int32_t *wide = (const int32_t *)(const void *)shorts;
    for (uint64_t k = 0; k < t->tall * t->wide; k++)
        for (uint64_t c = 0; c < t->channels; c++) {
            uint64_t at = k * t->stride + (t->crossed ? (c & ~3ull) | (c & 1) << 1 | (c >> 1 & 1) : c);
            *steps++ = ONE / (float)(t->factor_bytes == 2 ? shorts[at] : wide[at]);
        }
}

void rt_transform_bytes(const rt_transform *t, const int8_t *filters, const float *scales, void *work,
                        unsigned char *weights) {
    uint32_t count = t->tall * t->wide, channels = t->channels;
    float *steps = work, *y = steps + (uint64_t)count * channels;
    uint32_t *places = (uint32_t *)(void *)(y + (uint64_t)count * channels);
    int32_t *starts = (int32_t *)(void *)(weights + t->starts);
    float *units = (float *)(void *)(weights + t->scales);
    fill_steps(t, weights, steps);
    for (uint32_t c = 0; c < channels; c++) places[c] = (uint32_t)place(t->channel_digits, c);
    for (uint32_t m = 0; m < t->filters; m++) {
        for (uint32_t c = 0; c < channels; c++, filters += 9) {
            double g[9], taps[RT_MOST_TAPS];
            for (int i = 0; i < 9; i++) g[i] = (double)filters[i];
            transformed(t, g, taps);
            for (uint32_t k = 0; k < count; k++)
                y[(uint64_t)k * channels + c] = (float)taps[k] * steps[(uint64_t)k * channels + c];
        }
        int8_t *out = (int8_t *)(weights + t->to) + place(t->filter_digits, m);
        uint64_t group = (uint64_t)(m / t->width) * count * t->width + m % t->width;
        for (uint32_t k = 0; k < count; k++) {
            float reach = reach_of(y + (uint64_t)k * channels, channels);
            int32_t total = put(t, y + (uint64_t)k * channels, places, LARGEST / reach, out + (uint64_t)k * t->tap);
            if (t->starts) starts[group + (uint64_t)k * t->width] = -128 * total;
            units[group + (uint64_t)k * t->width] = reach / LARGEST * scales[m];
        }
    }
}
