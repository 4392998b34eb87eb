/* Tables and lanes of asymmetric numeral systems, and the decoder with one table for all bytes. */
#include <string.h>

#include "internal.h"

enum { MOST_FEW = 4 /* lanes that are kept in registers */ };

/* Tables -------------------------------------------------------------------------------------------- */

static uint32_t steepness(uint32_t code) { return (16 + (code & 15)) << (code >> 4); }

static int64_t bend(int32_t code) {
    int32_t size = code < 0 ? -code : code;
    int64_t value = code ? (int64_t)(8 + (size & 7)) << (size >> 3) : 0;
    return code < 0 ? -value : value;
}

static void fill_heights(uint32_t steep, int32_t bent, int32_t last, uint64_t *heights) {
    int64_t ratio = 65536 - (int64_t)steepness(steep), change = bend(bent);
    heights[0] = 1u << 30;
    for (int32_t i = 1; i <= last; i++) {
        heights[i] = heights[i - 1] * (uint64_t)ratio >> 16;
        int64_t less = ratio * change; /* rounded down, as Python shifts */
        ratio -= less >= 0 ? less >> 16 : -((-less + 65535) >> 16);
        ratio = ratio < 0 ? 0 : ratio > 65536 ? 65536 : ratio;
    }
}

static void curve(uint32_t steep, int32_t bent, int32_t limit, uint16_t *counts) {
    uint64_t heights[129], sum = 0;
    int32_t last = limit < 127 ? limit : 127, entries = limit + last + 1;
    fill_heights(steep, bent, limit, heights);
    for (int32_t v = -limit; v <= last; v++) sum += heights[v < 0 ? -v : v];
    uint32_t given = 0;
    memset(counts, 0, 256 * sizeof *counts);
    for (int32_t size = 0; size <= limit; size++) {
        uint16_t count = (uint16_t)(heights[size] * (uint64_t)(RT_SLOTS - entries) / sum + 1);
        counts[-size & 255] = count;
        if (size <= last) counts[size] = count;
        given += size && size <= last ? 2u * count : count;
    }
    counts[0] = (uint16_t)(counts[0] + RT_SLOTS - given);
}

/* Sizes go from `least` to `limit`; `lean` 256ths of a height are those of the positive number. */
static void folded(uint32_t steep, int32_t bent, int32_t limit, int32_t least, uint32_t lean, uint16_t *counts) {
    uint64_t heights[129], sum = 0, given = 0, entries = 0;
    fill_heights(steep, bent, limit - least, heights);
    memset(counts, 0, 256 * sizeof *counts);
    for (int32_t size = least; size <= limit; size++) {
        sum += heights[size - least] * (256 - lean) + 256;
        if (size < 128) sum += heights[size - least] * lean + 256;
        entries += size < 128 ? 2 : 1;
    }
    for (int32_t size = least; size <= limit; size++) {
        uint64_t height = heights[size - least];
        counts[256 - size] = (uint16_t)((height * (256 - lean) + 256) * (RT_SLOTS - entries) / sum + 1);
        given += counts[256 - size];
        if (size == 128) continue;
        counts[size] = (uint16_t)((height * lean + 256) * (RT_SLOTS - entries) / sum + 1);
        given += counts[size];
    }
    counts[least] = (uint16_t)(counts[least] + RT_SLOTS - given);
}

static int read_written(rt_span *in, uint16_t *counts) {
    rt_bits bits = rt_bits_of(*in);
    int32_t order = (int32_t)rt_take(&bits, 3);
    uint32_t at = 0, sum = 0;
    memset(counts, 0, 256 * sizeof *counts);
    while (at < 256 && !bits.missing) {
        uint32_t count = rt_golomb(&bits, order);
        if (count > RT_SLOTS - sum) return 0;
        counts[(at + 128) & 255] = (uint16_t)count;
        sum += count;
        at += count ? 1 : rt_golomb(&bits, 0) + 1;
    }
    in->at += rt_bits_bytes(&bits);
    return at == 256 && sum == RT_SLOTS && !bits.missing;
}

/* Counts by byte that add up to RT_SLOTS; the span goes on behind the table. */
int rt_read_counts(rt_span *in, uint16_t *counts) {
    if (rt_left(*in) < 4) return 0;
    const unsigned char *head = in->at;
    if (head[0] == 1) {
        in->at++;
        return read_written(in, counts);
    }
    int32_t bent = head[2] < 128 ? head[2] : head[2] - 256;
    if ((head[0] != 0 && head[0] != 2) || head[1] >= 192 || bent < -80 || bent >= 100 || head[3] > 128) return 0;
    if (head[0] == 0) {
        curve(head[1], bent, head[3], counts);
        in->at += 4;
        return 1;
    }
    if (rt_left(*in) < 6 || !head[4] || head[4] > head[3] || !head[5]) return 0;
    folded(head[1], bent, head[3], head[4], head[5], counts);
    in->at += 6;
    return 1;
}

/* Lanes --------------------------------------------------------------------------------------------- */

int rt_read_states(rt_span *in, uint32_t lanes, rt_lanes *into) {
    if (rt_left(*in) < 4 * (uint64_t)lanes || rt_left(*in) % 2) return 0;
    into->lanes = lanes;
    for (uint32_t i = 0; i < lanes; i++, in->at += 4)
        if ((into->state[i] = rt_u32(in->at)) < RT_LOW) return 0;
    return 1;
}

int rt_finished(const rt_lanes *lanes, rt_span in) {
    for (uint32_t i = 0; i < lanes->lanes; i++)
        if (lanes->state[i] != RT_LOW) return 0;
    return in.at == in.end;
}

/* Whether lanes are decoded eight at once; what that needs is filled in. */
int rt_use_eights(uint32_t lanes, rt_takes *takes) {
#if defined(__x86_64__)
    static int known; /* asking a processor takes microseconds where a hypervisor answers; threads find the same */
    if (lanes % 8) return 0;
    int has = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (!has) {
        has = !rt_cpu_has("avx2") ? -1 : rt_cpu_has("avx512bw") && rt_cpu_has("avx512vl") && rt_cpu_has("bmi2") ? 2 : 1;
        __atomic_store_n(&known, has, __ATOMIC_RELAXED);
    }
    if (has < 0) return 0;
    rt_fill_takes(takes);
    takes->sixteens = has == 2;
    return 1;
#elif RT_HAS_EIGHTS
    if (lanes % 8) return 0;
    rt_fill_takes(takes);
    return 1;
#else
    (void)lanes;
    (void)takes;
    return 0;
#endif
}

/* So many rounds of lanes whose number is a constant, in registers; by a table for each symbol where contexts say which. */
static inline __attribute__((always_inline)) const unsigned char *rounds_of(uint32_t *state, uint32_t lanes, const uint32_t *slots,
                                                                            const unsigned char *at, const unsigned char *contexts,
                                                                            unsigned char *out, size_t rounds) {
    uint32_t x[MOST_FEW];
    for (uint32_t i = 0; i < lanes; i++) x[i] = state[i];
    for (; rounds--; out += lanes) {
        for (uint32_t i = 0; i < lanes; i++) {
            uint32_t slot = x[i] & (RT_SLOTS - 1);
            uint32_t entry = slots[contexts ? slot | (uint32_t)contexts[i] << RT_LOG_SLOTS : slot];
            out[i] = (unsigned char)entry;
            x[i] = rt_refilled(rt_advanced(x[i], entry), &at);
        }
        if (contexts) contexts += lanes;
    }
    for (uint32_t i = 0; i < lanes; i++) state[i] = x[i];
    return at;
}

static const unsigned char *some_rounds(uint32_t *state, uint32_t lanes, const uint32_t *slots, const unsigned char *at,
                                        const unsigned char *contexts, unsigned char *out, size_t rounds) {
    if (lanes == 4 && contexts) return rounds_of(state, 4, slots, at, contexts, out, rounds);
    if (lanes == 4) return rounds_of(state, 4, slots, at, NULL, out, rounds);
    if (lanes == 2 && contexts) return rounds_of(state, 2, slots, at, contexts, out, rounds);
    if (lanes == 2) return rounds_of(state, 2, slots, at, NULL, out, rounds);
    if (contexts) return rounds_of(state, 1, slots, at, contexts, out, rounds);
    return rounds_of(state, 1, slots, at, NULL, out, rounds);
}

uint64_t rt_few_steps(uint32_t *state, uint32_t lanes, const uint32_t *slots, rt_span *in, const unsigned char *contexts,
                      unsigned char *out, uint64_t count) {
    uint64_t done = 0;
    uint32_t log = lanes / 2; /* of 1, 2 or 4 */
    while (lanes <= MOST_FEW) { /* as many rounds as there are words for, whatever they take */
        uint64_t rounds = (count - done) >> log, safe = rt_left(*in) >> (log + 1);
        if (!(rounds = rounds < safe ? rounds : safe)) break;
        in->at = some_rounds(state, lanes, slots, in->at, contexts ? contexts + done : NULL, out + done, (size_t)rounds);
        done += rounds * lanes;
    }
    return done;
}

/* One symbol of each of `lanes` lanes; `stride` is a constant where that is quicker. */
static inline const unsigned char *step(uint32_t *state, uint32_t lanes, const uint32_t *slots, const unsigned char *at,
                                        unsigned char *out, uint64_t stride) {
    for (uint32_t i = 0; i < lanes; i++) {
        uint32_t entry = slots[state[i] & (RT_SLOTS - 1)];
        out[i * stride] = (unsigned char)entry;
        state[i] = rt_refilled(rt_advanced(state[i], entry), &at);
    }
    return at;
}

/* The same near the end of the words, one of which may be missing. */
static int careful_step(uint32_t *state, uint32_t lanes, const uint32_t *slots, rt_span *in, unsigned char *out,
                        uint64_t stride) {
    for (uint32_t i = 0; i < lanes; i++) {
        uint32_t entry = slots[state[i] & (RT_SLOTS - 1)];
        out[i * stride] = (unsigned char)entry;
        state[i] = rt_advanced(state[i], entry);
        if (state[i] >= RT_LOW) continue;
        if (rt_left(*in) < 2) return 0;
        state[i] = state[i] << 16 | rt_u16(in->at);
        in->at += 2;
    }
    return 1;
}

/* Eight entries at a time, of which what is too much is the next symbol's, as long as the table has so many more. */
void rt_fill_slots(const uint16_t *counts, uint32_t *slots) {
    typedef uint32_t four __attribute__((vector_size(16)));
    const four steps = {0, 1 << 20, 2 << 20, 3 << 20};
    uint32_t *end = slots + RT_SLOTS;
    for (uint32_t symbol = 0; symbol < 256; symbol++) {
        uint32_t count = counts[symbol], i = 0, first = symbol | (count - 1u) << 8;
        four entries = steps + first;
        for (; i < count && end - slots >= (ptrdiff_t)i + 8; i += 8, entries += 8 << 20) {
            four next = entries + (4 << 20);
            memcpy(slots + i, &entries, sizeof entries);
            memcpy(slots + i + 4, &next, sizeof next);
        }
        for (; i < count; i++) slots[i] = first | i << 20;
        slots += count;
    }
}

int rt_decode_rans(rt_span in, rt_place to, rt_scratch *scratch) {
    rt_lanes *lanes = &scratch->lanes;
    if (rt_left(in) < 2 || in.at[0] > 8) return 0;
    uint32_t width = 1u << *in.at++;
    if (!rt_read_counts(&in, scratch->counts) || !rt_read_states(&in, width, lanes)) return 0;
    uint32_t *slots = scratch->as.rans.slots;
    rt_fill_slots(scratch->counts, slots);
    uint64_t done = 0;
#if RT_HAS_EIGHTS
    if (to.stride == 1 && rt_use_eights(width, &scratch->as.rans.takes))
        done = rt_steps_eights(lanes->state, width, slots, &scratch->as.rans.takes, &in, to.out, to.count);
#endif
    if (to.stride == 1) done += rt_few_steps(lanes->state, width, slots, &in, NULL, to.out + done, to.count - done);
    for (; to.count - done >= width && rt_left(in) >= 2 * (uint64_t)width; done += width) {
        if (to.stride == 1) in.at = step(lanes->state, width, slots, in.at, to.out + done, 1);
        else in.at = step(lanes->state, width, slots, in.at, to.out + done * to.stride, to.stride);
    }
    while (done < to.count) {
        uint32_t some = to.count - done < width ? (uint32_t)(to.count - done) : width;
        if (!careful_step(lanes->state, some, slots, &in, to.out + done * to.stride, to.stride)) return 0;
        done += some;
    }
    return rt_finished(lanes, in);
}
