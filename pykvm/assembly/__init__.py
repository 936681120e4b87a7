"""The parts of the assembler: a source becomes lines, statements, and placed bytes."""
