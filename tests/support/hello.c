/* A freestanding program: data, zeroed memory and calls, and a word on the debug console. */

static unsigned counter;
static char scratch[3 << 20];
const char *volatile greeting = "Hello from C\n";

static void put(char character)
{
    __asm__ volatile("outb %0, $0xe9" : : "a"(character));
}

void print(const char *text)
{
    while (*text) {
        put(*text++);
        counter++;
    }
}

__attribute__((noreturn)) void _start(void)
{
    volatile char *last = &scratch[sizeof scratch - 1];
    print(*last == 0 && counter == 0 ? greeting : "memory is not zero\n");
    *last = 1;
    for (;;)
        __asm__ volatile("hlt");
}
