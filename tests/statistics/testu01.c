/* A battery of TestU01 (L'Ecuyer and Simard 2007) on the 32-bit words of standard input:
 *
 *     words.py | testu01 small|crush|big [reversed]
 *
 * "reversed" turns each word's bits round, since most of its tests look at a word's top bits. The battery's report goes to standard output;
 * the exit status is 1 where a p-value lies outside [1e-4, 1 - 1e-4], 2 where the words end too early or the arguments are wrong. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bbattery.h"
#include "swrite.h"
#include "unif01.h"

static uint32_t buffer[1 << 16];
static size_t held, taken;
static int reversed;

static unsigned int next_word(void) {
    if (taken == held) {
        held = fread(buffer, sizeof buffer[0], sizeof buffer / sizeof buffer[0], stdin);
        taken = 0;
        if (held == 0) {
            fputs("testu01: the words on standard input ended before the battery did\n", stderr);
            exit(2);
        }
    }
    uint32_t word = buffer[taken++];
    if (reversed) {
        word = (word >> 16) | (word << 16);
        word = ((word >> 8) & 0x00FF00FFu) | ((word & 0x00FF00FFu) << 8);
        word = ((word >> 4) & 0x0F0F0F0Fu) | ((word & 0x0F0F0F0Fu) << 4);
        word = ((word >> 2) & 0x33333333u) | ((word & 0x33333333u) << 2);
        word = ((word >> 1) & 0x55555555u) | ((word & 0x55555555u) << 1);
    }
    return word;
}

int main(int argc, char **argv) {
    const char *battery = argc > 1 ? argv[1] : "";
    reversed = argc > 2 && strcmp(argv[2], "reversed") == 0;
    unif01_Gen *generator = unif01_CreateExternGenBits(reversed ? "words, reversed" : "words", next_word);
    swrite_Basic = FALSE;
    if (strcmp(battery, "small") == 0) {
        bbattery_SmallCrush(generator);
    } else if (strcmp(battery, "crush") == 0) {
        bbattery_Crush(generator);
    } else if (strcmp(battery, "big") == 0) {
        bbattery_BigCrush(generator);
    } else {
        fputs("testu01: expected small, crush or big\n", stderr);
        return 2;
    }
    unif01_DeleteExternGenBits(generator);
    int outside = 0;
    for (int i = 0; i < bbattery_NTests; i++) {
        /* A statistic that a test leaves out is negative. */
        if (bbattery_pVal[i] >= 0.0 && (bbattery_pVal[i] < 1e-4 || bbattery_pVal[i] > 1.0 - 1e-4)) {
            printf("outside: %s, p = %.3g\n", bbattery_TestNames[i], bbattery_pVal[i]);
            outside++;
        }
    }
    printf("%d p-values, %d outside [1e-4, 1 - 1e-4]\n", bbattery_NTests, outside);
    return outside > 0;
}
