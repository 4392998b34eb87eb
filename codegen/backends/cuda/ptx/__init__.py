"""PTX of kernels: LLVM IR with what GPUs lack, the machine that LLVM makes code for, and the assembler."""
