/* A multiboot kernel: prints the command line, the loader's name and the memory map. */

typedef unsigned u32;
typedef unsigned long long u64;

#define MAGIC 0x1BADB002u
#define FLAGS 3u /* page-aligned modules, memory information */

__attribute__((section(".multiboot"), used, aligned(4))) static const u32 header[] = {
    MAGIC,
    FLAGS,
    -(MAGIC + FLAGS),
};

struct information {
    u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
    u32 mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
};

struct __attribute__((packed)) mmap_entry {
    u32 size;
    u64 base, length;
    u32 type;
};

static char stack[4096] __attribute__((used));

static void put(char character)
{
    __asm__ volatile("outb %0, $0xe9" : : "a"(character));
}

static void print(const char *text)
{
    while (*text)
        put(*text++);
}

static void print_hex(u64 value)
{
    int shift = 60;
    while (shift > 0 && !(value >> shift))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        put("0123456789abcdef"[value >> shift & 15]);
}

static void field(const char *name, u64 value)
{
    print(name);
    print_hex(value);
}

__attribute__((used, noreturn)) static void kernel(u32 magic, const struct information *info)
{
    field("magic ", magic);
    field(" flags ", info->flags);
    field(" lower ", info->mem_lower);
    field(" upper ", info->mem_upper);
    print("\n[");
    print((const char *)info->cmdline);
    print("] from ");
    print((const char *)info->boot_loader_name);
    print("\n");
    for (u32 at = info->mmap_addr; at < info->mmap_addr + info->mmap_length;) {
        const struct mmap_entry *entry = (const struct mmap_entry *)at;
        field("", entry->base);
        field(" + ", entry->length);
        field(" type ", entry->type);
        print("\n");
        at += entry->size + sizeof entry->size;
    }
    for (;;)
        __asm__ volatile("hlt");
}

__asm__(".globl _start\n"
        "_start:\n"
        "    movl $stack + 4096, %esp\n"
        "    pushl %ebx\n"
        "    pushl %eax\n"
        "    call kernel\n");
