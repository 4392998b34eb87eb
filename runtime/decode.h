/* Decoding of coded weights: see codegen/weights, whose formats these are. */
#ifndef SECATEUR_DECODE_H
#define SECATEUR_DECODE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "mixed.h"

enum {
    RT_LOG_SLOTS = 12,
    RT_SLOTS = 1 << RT_LOG_SLOTS, /* parts that a table's counts add up to */
    RT_LANES = 256,               /* at most */
    RT_CONTEXTS = 5,              /* tables of one array at most */
    RT_DEPTH = 8,                 /* planes that are looked back at */
    RT_PLACES = 512,              /* of a plane, that are decoded before the same ones of the next */
    RT_LOW = 1 << 16,             /* a state between two symbols at least */
    RT_WORD_BITS = 15,            /* of a word of a prefix code at most */
    RT_PATTERNS = 1024,
    RT_SYMBOL_BITS = 11,          /* in which a pattern's number fits */
    RT_SORTS = 4,      /* tables of what is not zero at most */
    RT_TOLD = 2048,    /* filters and channels that are told of at most */
    RT_LONGEST = 512   /* taps, at most, of places whose zeros are told from the rest */
};

/* Bytes that are still to be read. */
typedef struct rt_span {
    const unsigned char *at, *end;
} rt_span;

/* Where decoded bytes go: byte i to out[i * stride]. */
typedef struct rt_place {
    unsigned char *out;
    uint64_t count, stride;
} rt_place;

typedef struct rt_lanes {
    uint32_t state[RT_LANES];
    uint32_t lanes;
} rt_lanes;

/* Which of the next words each of eight lanes takes, by the set of lanes that take one; by NEON the bytes of it. */
typedef struct rt_takes {
    unsigned char word[256][16];
    int sixteens; /* lanes are decoded sixteen at once where there are so many */
} rt_takes;

typedef struct rt_planes {
    uint32_t slots[RT_CONTEXTS][RT_SLOTS]; /* as of one table */
    int8_t rows[RT_DEPTH + 1][RT_PLACES];         /* of the last planes, number by number */
    uint16_t sizes[RT_PLACES];                    /* of the last RT_DEPTH values of a place in sum */
    unsigned char contexts[RT_PLACES];
    rt_takes takes;
} rt_planes;

typedef struct rt_zeros { /* where this begins with a cache line, so do rows */
    uint32_t slots[RT_SORTS][RT_SLOTS];                               /* as of one table */
    int8_t told[2 * RT_TOLD + RT_LONGEST];                            /* quarters of logits: of filters, channels, taps */
    unsigned char missing[RT_TOLD];                                   /* of a filter's sizes */
    int16_t logits[RT_PLACES + 32], sorts[RT_PLACES + 32];            /* of places, whatever the tap; whole vectors are written */
    int16_t means[RT_PLACES], sums[RT_PLACES];                        /* of what their taps before held */
    uint32_t offsets[RT_PLACES];                                      /* where runs of places lie */
    uint16_t lengths[RT_PLACES];                                      /* of runs */
    unsigned char lacks[RT_PLACES];                                   /* places' filters' missing sizes */
    unsigned char classes[RT_PLACES];                                 /* of chances, of a tap */
    uint16_t chances[RT_PLACES];                                      /* of a tap */
    uint16_t sets[RT_PLACES / 8];                                     /* of eight places, those that are not zero; twice how many << 8 */
    unsigned char tables[RT_PLACES + 64];                             /* of places */
    unsigned char chosen[RT_PLACES + 64], found[RT_PLACES + 64];      /* of those that are not zero: their tables, what they hold */
    int8_t rows[8][RT_PLACES], *row;                                  /* what the last taps hold, and the one at hand */
    rt_takes takes;
    union {
        struct { /* for each set of eight places, which they are, and each one's number among them */
            unsigned char which[256][8], ranks[256][8];
        };
        unsigned char tail[8 * RT_PLACES]; /* words of a stream that are left, and behind them room to read on for a row */
    };
    int in_tail;                        /* words are read there */
    uint32_t wide_sets[RT_PLACES / 32]; /* of 32 places, those that are not zero */
} rt_zeros;

/* By what a tap's chances and tables are found. */
typedef struct rt_expected {
    const uint16_t *chances; /* by classes, 64 */
    int16_t mean, told, weight, by_seen, limits[RT_SORTS];
    uint32_t tables;
    int16_t flat, steep, pace; /* of what is seen */
} rt_expected;

typedef struct rt_prefix {
    uint16_t words[1 << RT_WORD_BITS]; /* by the next bits: length << RT_SYMBOL_BITS | symbol, 0 where no word begins so */
    uint32_t known[RT_PATTERNS];       /* by pattern: the block where it first occurs */
    unsigned char lengths[RT_PATTERNS + 2];
    int whole; /* a word begins with whatever comes next */
} rt_prefix;

/* What a decoder needs while it works. */
typedef struct rt_scratch {
    rt_lanes lanes;
    int eights; /* lanes are decoded eight at once */
    uint16_t counts[256];
    uint32_t unused[14]; /* rt_zeros begins with a cache line where this does */
    union {
        struct {
            uint32_t slots[RT_SLOTS]; /* symbol | count less one << 8 | place within the symbol << 20 */
            rt_takes takes;
        } rans;
        rt_planes planes;
        rt_zeros zeros;
        rt_prefix prefix;
        rt_mixed mixed;
    } as;
} rt_scratch;

/* Of that, so many bytes are a decoder's of a kind; the compiler reserves the largest of those that a model needs. */
#define RT_ROOM_PLAIN 64
#define RT_ROOM_RANS 22144
#define RT_ROOM_PREFIX 72320
#define RT_ROOM_PLANES 93824
#define RT_ROOM_ZEROS 98304
#define RT_ROOM_MIXED 223872
#define RT_ROOM(member) (offsetof(rt_scratch, as) + sizeof(((rt_scratch *)0)->as.member))
_Static_assert(RT_ROOM(rans) <= RT_ROOM_RANS && RT_ROOM(prefix) <= RT_ROOM_PREFIX, "RT_ROOM_RANS or PREFIX is too small");
_Static_assert(RT_ROOM(planes) <= RT_ROOM_PLANES && RT_ROOM(mixed) <= RT_ROOM_MIXED, "RT_ROOM_PLANES or MIXED is too small");
_Static_assert(RT_ROOM(zeros) <= RT_ROOM_ZEROS, "RT_ROOM_ZEROS is too small");

/* Each decodes a payload to its end; 0 where it is damaged. Nothing is read or written outside what is given. */
int rt_decode_huffman(rt_span in, rt_place to, rt_scratch *scratch);
int rt_decode_network_huffman(rt_span in, rt_span table, rt_place to, rt_scratch *scratch);
int rt_decode_zero_run(rt_span in, rt_place to, rt_scratch *scratch);
int rt_decode_patterns(rt_span in, rt_place to, rt_scratch *scratch);
int rt_decode_rans(rt_span in, rt_place to, rt_scratch *scratch);
int rt_decode_planes(rt_span in, rt_place to, rt_scratch *scratch);
int rt_decode_nibbles(rt_span in, rt_place to, rt_scratch *scratch);
int rt_decode_zeros(rt_span in, rt_place to, rt_scratch *scratch);
int rt_decode_mixed(rt_span in, rt_place to, rt_scratch *scratch);

/* The stream of `bytes` bytes that an array takes. `table` is what a network's streams have in common, where they do. Of the
 * scratch there are `room` bytes: where a stream needs more, it is none that the compiler wrote. */
int rt_decode(rt_span in, rt_span table, unsigned char *out, uint64_t bytes, rt_scratch *scratch, uint64_t room);

/* Symbols of up to four lanes again and again while words and places are left for all; how many. Each by the table that its
 * context says, or all by the first where there are no contexts. */
uint64_t rt_few_steps(uint32_t *state, uint32_t lanes, const uint32_t *slots, rt_span *in, const unsigned char *contexts,
                      unsigned char *out, uint64_t count);

/* Whether there is code that decodes lanes eight at once: decode_avx2.c, decode_neon.c. */
#if defined(__x86_64__) || defined(__aarch64__) || defined(__ARM_NEON)
#define RT_HAS_EIGHTS 1
#else
#define RT_HAS_EIGHTS 0
#endif

/* Byte i of each of up to eight rows, which begin so far `apart`, to the bytes from out[i * stride] on. Eight rows can be read, to
 * a multiple of eight bytes. */
void rt_spread_rows(unsigned char *out, uint64_t stride, const unsigned char *rows, uint64_t apart, uint32_t number, uint64_t count);

/* Bytes to places at equal distances. */
void rt_spread(unsigned char *out, uint64_t stride, const unsigned char *from, uint64_t count);

#if RT_HAS_EIGHTS /* `lanes` is a multiple of 8, and there are as many words */
void rt_fill_takes(rt_takes *takes);
/* Symbols of all lanes again and again while words and places are left for all; how many. */
uint64_t rt_steps_eights(uint32_t *state, uint32_t lanes, const uint32_t *slots, const rt_takes *takes, rt_span *in,
                         unsigned char *out, uint64_t count);
/* The same with a table for each symbol: its context says which. The last may be some lanes' alone; of contexts and places whole
 * sixteens are touched. */
uint64_t rt_rest_eights(uint32_t *state, uint32_t lanes, const uint32_t *slots, const rt_takes *takes, rt_span *in,
                        const unsigned char *contexts, unsigned char *out, uint64_t count);
/* Bits by the chances from `first` on, as long as words and places are left for all lanes: into sets of eight, and the tables of
 * those that are 1 to `chosen`, behind which sixteen bytes more may be written. How many. */
uint32_t rt_flag_eights(rt_zeros *zeros, uint32_t *state, uint32_t lanes, uint32_t first, uint32_t count, rt_span *in,
                        unsigned char **chosen);
/* What was found, and zeros, in their places. */
void rt_expand_eights(rt_zeros *zeros, uint32_t count);
/* Chances and tables of the first `count` places, a multiple of 32. */
void rt_expect_eights(rt_zeros *zeros, const rt_expected *by, uint32_t count);
#endif

#if defined(__x86_64__) /* decode_avx512.c: the same for lanes in sixteens */
uint64_t rt_steps_sixteens(uint32_t *state, uint32_t lanes, const uint32_t *slots, rt_span *in, unsigned char *out, uint64_t count);
uint64_t rt_rest_sixteens(uint32_t *state, uint32_t lanes, const uint32_t *slots, rt_span *in, const unsigned char *contexts,
                          unsigned char *out, uint64_t count);
/* Finishes the row of the tap before where one has begun, and finds what is zero of the next and the values of the rest. It may
 * read RT_PLACES words twice; where words end. */
const unsigned char *rt_row_sixteens(rt_zeros *zeros, uint32_t *state, uint32_t lanes, const rt_expected *by, int begun,
                                     uint32_t count, const unsigned char *at);
/* Finishes the row of the last tap. */
void rt_settle_sixteens(rt_zeros *zeros, uint32_t count);
#endif

/* Counts by byte that add up to RT_SLOTS; the span goes on behind the table, or behind the states. */
int rt_read_counts(rt_span *in, uint16_t *counts);
int rt_read_states(rt_span *in, uint32_t lanes, rt_lanes *into);
int rt_finished(const rt_lanes *lanes, rt_span in);
void rt_fill_slots(const uint16_t *counts, uint32_t *slots);
/* Whether lanes are decoded eight at once; what that needs is filled in. */
int rt_use_eights(uint32_t lanes, rt_takes *takes);

uint32_t rt_adler(const unsigned char *data, uint64_t bytes); /* Adler-32 */

static inline uint32_t rt_u32(const unsigned char *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline uint32_t rt_u16(const unsigned char *at) { return (uint32_t)at[0] | (uint32_t)at[1] << 8; }

/* Of bytes that lie side by side, eight at a time; the first may lie behind the second, not the other way around. */
static inline void rt_copy(unsigned char *to, const unsigned char *from, uint32_t bytes) {
    for (; bytes >= 8; bytes -= 8, to += 8, from += 8) {
        uint64_t eight;
        memcpy(&eight, from, sizeof eight);
        memcpy(to, &eight, sizeof eight);
    }
    while (bytes--) *to++ = *from++;
}

/* All bytes of a place are 0. */
void rt_clear(rt_place to);

static inline uint64_t rt_left(rt_span in) { return (uint64_t)(in.end - in.at); }

/* A state after a symbol, by the entry of its slot. */
static inline uint32_t rt_advanced(uint32_t state, uint32_t entry) {
    return ((entry >> 8 & (RT_SLOTS - 1)) + 1) * (state >> RT_LOG_SLOTS) + (entry >> 20);
}

/* Without a branch: a state that is too low takes the next word. There are enough of them. */
static inline uint32_t rt_refilled(uint32_t state, const unsigned char **at) {
    uint32_t low = state < RT_LOW;
    uint32_t more = state << 16 | rt_u16(*at);
    *at += 2 * low;
    return low ? more : state;
}

/* Numbers of a few bits, the first in the lowest place. Past the end they are zeros, and `missing` tells. */
typedef struct rt_bits {
    const unsigned char *begin, *at, *end;
    uint64_t held;
    int32_t count, missing;
} rt_bits;

static inline rt_bits rt_bits_of(rt_span in) {
    rt_bits bits = {in.at, in.at, in.end, 0, 0, 0};
    return bits;
}

/* To 56 bits at least where the stream has them. What `held` has above `count` bits is what comes next. */
static inline void rt_refill(rt_bits *bits) {
    if (bits->end - bits->at >= 8) {
        uint64_t next; /* lowest byte first, as every target has it */
        memcpy(&next, bits->at, sizeof next);
        bits->held |= next << bits->count;
        bits->at += (63 - bits->count) >> 3;
        bits->count |= 56;
        return;
    }
    while (bits->count <= 56 && bits->at < bits->end) {
        bits->held |= (uint64_t)*bits->at++ << bits->count;
        bits->count += 8;
    }
}

static inline void rt_drop(rt_bits *bits, int32_t count) {
    if (count > bits->count) {
        bits->missing = 1;
        count = bits->count;
    }
    bits->held >>= count;
    bits->count -= count;
}

static inline uint32_t rt_take(rt_bits *bits, int32_t count) { /* 32 at most */
    rt_refill(bits);
    uint32_t value = (uint32_t)(bits->held & ((1ull << count) - 1));
    rt_drop(bits, count);
    return value;
}

/* Bytes touched so far. */
static inline uint64_t rt_bits_bytes(const rt_bits *bits) {
    return (uint64_t)(bits->at - bits->begin) - (uint64_t)(bits->count / 8);
}

/* An exponential Golomb code; past 2^24 it is no number of ours, which `missing` tells. */
static inline uint32_t rt_golomb(rt_bits *bits, int32_t order) {
    rt_refill(bits);
    int32_t more = ~bits->held ? __builtin_ctzll(~bits->held) : 64;
    if (more + order > 24) bits->missing = 1;
    else rt_drop(bits, more + 1);
    if (bits->missing) return 0;
    return rt_take(bits, more + order) + (1u << (more + order)) - (1u << order);
}

#endif
