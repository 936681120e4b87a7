#include <string.h>

#include "ring.h"

/* The sum in either byte order is the other one's with its bytes swapped, so whole words are added
 * as they lie in memory, little-endian. RFC 1071 §2. */
uint32_t pykvm_ones_sum(const uint8_t *data, size_t start, size_t end)
{
    uint64_t sum = 0;
    uint32_t word;
    for (; start + sizeof word <= end; start += sizeof word) {
        memcpy(&word, data + start, sizeof word);
        sum += word;
    }
    word = 0;
    memcpy(&word, data + start, end - start);
    sum += word;
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint32_t)((sum & 0xFF) << 8 | sum >> 8);
}
