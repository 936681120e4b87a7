# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A selector whose descriptor does not lie within the table's limit is #GP with the selector.
#
# Source: Intel SDM vol. 3A §3.5.1 (segment descriptor tables), §5.3.

.include "../check32.inc"

    call catch_faults
    describe EXTRA, 0x0000FFFF, 0x00CF9200
    mov ebx, EXTRA
    mov fs, ebx
    mov word ptr [own_gdt_pointer], EXTRA + 6
    lgdt [own_gdt_pointer]
    attempt
    mov fs, ebx
    caught 13, EXTRA
    mov fs, [zero]
    exit 0

zero:
    .word 0

.include "../catch32.inc"
