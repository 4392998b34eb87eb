; Instructions of AVX-512 and VNNI that kernels name, in LLVM's own terms, after the manual of Intel's instruction
; set. `wide_code.py` puts them in the place of the instructions.

; vpdpbusd: to each sum four products of unsigned by signed bytes.
define linkonce_odr <16 x i32> @plain.vpdpbusd.512(<16 x i32> %sum, <64 x i8> %unsigned, <64 x i8> %signed) alwaysinline {
  %u = bitcast <64 x i8> %unsigned to <16 x i32>
  %s = bitcast <64 x i8> %signed to <16 x i32>
  %u.up0 = shl <16 x i32> %u, splat (i32 24)
  %s.up0 = shl <16 x i32> %s, splat (i32 24)
  %u0 = lshr <16 x i32> %u.up0, splat (i32 24)
  %s0 = ashr <16 x i32> %s.up0, splat (i32 24)
  %product0 = mul <16 x i32> %u0, %s0
  %sum0 = add <16 x i32> %sum, %product0
  %u.up1 = shl <16 x i32> %u, splat (i32 16)
  %s.up1 = shl <16 x i32> %s, splat (i32 16)
  %u1 = lshr <16 x i32> %u.up1, splat (i32 24)
  %s1 = ashr <16 x i32> %s.up1, splat (i32 24)
  %product1 = mul <16 x i32> %u1, %s1
  %sum1 = add <16 x i32> %sum0, %product1
  %u.up2 = shl <16 x i32> %u, splat (i32 8)
  %s.up2 = shl <16 x i32> %s, splat (i32 8)
  %u2 = lshr <16 x i32> %u.up2, splat (i32 24)
  %s2 = ashr <16 x i32> %s.up2, splat (i32 24)
  %product2 = mul <16 x i32> %u2, %s2
  %sum2 = add <16 x i32> %sum1, %product2
  %u.up3 = shl <16 x i32> %u, splat (i32 0)
  %s.up3 = shl <16 x i32> %s, splat (i32 0)
  %u3 = lshr <16 x i32> %u.up3, splat (i32 24)
  %s3 = ashr <16 x i32> %s.up3, splat (i32 24)
  %product3 = mul <16 x i32> %u3, %s3
  %sum3 = add <16 x i32> %sum2, %product3
  ret <16 x i32> %sum3
}

; vpmaddwd: sums of two products of 16-bit numbers.
define linkonce_odr <16 x i32> @plain.pmaddw.d.512(<32 x i16> %a, <32 x i16> %b) alwaysinline {
  %left = bitcast <32 x i16> %a to <16 x i32>
  %right = bitcast <32 x i16> %b to <16 x i32>
  %left.up = shl <16 x i32> %left, splat (i32 16)
  %right.up = shl <16 x i32> %right, splat (i32 16)
  %left0 = ashr <16 x i32> %left.up, splat (i32 16)
  %right0 = ashr <16 x i32> %right.up, splat (i32 16)
  %left1 = ashr <16 x i32> %left, splat (i32 16)
  %right1 = ashr <16 x i32> %right, splat (i32 16)
  %product0 = mul <16 x i32> %left0, %right0
  %product1 = mul <16 x i32> %left1, %right1
  %sum = add <16 x i32> %product0, %product1
  ret <16 x i32> %sum
}

; vpmaddubsw: sums of two products of unsigned by signed bytes, saturated to 16 bits.
define linkonce_odr <32 x i16> @plain.pmaddubs.w.512(<64 x i8> %unsigned, <64 x i8> %signed) alwaysinline {
  %u = bitcast <64 x i8> %unsigned to <32 x i16>
  %s = bitcast <64 x i8> %signed to <32 x i16>
  %u0 = and <32 x i16> %u, splat (i16 255)
  %u1 = lshr <32 x i16> %u, splat (i16 8)
  %s.up = shl <32 x i16> %s, splat (i16 8)
  %s0 = ashr <32 x i16> %s.up, splat (i16 8)
  %s1 = ashr <32 x i16> %s, splat (i16 8)
  %product0 = mul <32 x i16> %u0, %s0
  %product1 = mul <32 x i16> %u1, %s1
  %sum = call <32 x i16> @llvm.sadd.sat.v32i16(<32 x i16> %product0, <32 x i16> %product1)
  ret <32 x i16> %sum
}

; vpmulhrsw: (a b / 2^14 + 1) / 2, rounded down twice.
define linkonce_odr <32 x i16> @plain.pmul.hr.sw.512(<32 x i16> %a, <32 x i16> %b) alwaysinline {
  %left = sext <32 x i16> %a to <32 x i32>
  %right = sext <32 x i16> %b to <32 x i32>
  %product = mul <32 x i32> %left, %right
  %doubled = ashr <32 x i32> %product, splat (i32 14)
  %up = add <32 x i32> %doubled, splat (i32 1)
  %rounded = ashr <32 x i32> %up, splat (i32 1)
  %result = trunc <32 x i32> %rounded to <32 x i16>
  ret <32 x i16> %result
}

; vpackuswb: in each 128 bits eight numbers of a, then eight of b, saturated to unsigned bytes.
define linkonce_odr <64 x i8> @plain.packuswb.512(<32 x i16> %a, <32 x i16> %b) alwaysinline {
  %both = shufflevector <32 x i16> %a, <32 x i16> %b,
    <64 x i32> <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7, i32 32, i32 33, i32 34, i32 35, i32 36, i32 37, i32 38, i32 39, i32 8, i32 9, i32 10, i32 11, i32 12, i32 13, i32 14, i32 15, i32 40, i32 41, i32 42, i32 43, i32 44, i32 45, i32 46, i32 47, i32 16, i32 17, i32 18, i32 19, i32 20, i32 21, i32 22, i32 23, i32 48, i32 49, i32 50, i32 51, i32 52, i32 53, i32 54, i32 55, i32 24, i32 25, i32 26, i32 27, i32 28, i32 29, i32 30, i32 31, i32 56, i32 57, i32 58, i32 59, i32 60, i32 61, i32 62, i32 63>
  %low = call <64 x i16> @llvm.smax.v64i16(<64 x i16> %both, <64 x i16> zeroinitializer)
  %high = call <64 x i16> @llvm.smin.v64i16(<64 x i16> %low, <64 x i16> splat (i16 255))
  %result = trunc <64 x i16> %high to <64 x i8>
  ret <64 x i8> %result
}

; vpackssdw: in each 128 bits four numbers of a, then four of b, saturated to 16 bits.
define linkonce_odr <32 x i16> @plain.packssdw.512(<16 x i32> %a, <16 x i32> %b) alwaysinline {
  %both = shufflevector <16 x i32> %a, <16 x i32> %b,
    <32 x i32> <i32 0, i32 1, i32 2, i32 3, i32 16, i32 17, i32 18, i32 19, i32 4, i32 5, i32 6, i32 7, i32 20, i32 21, i32 22, i32 23, i32 8, i32 9, i32 10, i32 11, i32 24, i32 25, i32 26, i32 27, i32 12, i32 13, i32 14, i32 15, i32 28, i32 29, i32 30, i32 31>
  %low = call <32 x i32> @llvm.smax.v32i32(<32 x i32> %both, <32 x i32> splat (i32 -32768))
  %high = call <32 x i32> @llvm.smin.v32i32(<32 x i32> %low, <32 x i32> splat (i32 32767))
  %result = trunc <32 x i32> %high to <32 x i16>
  ret <32 x i16> %result
}

; vcvtps2dq of all lanes, half to even; the least number where the result is none.
define linkonce_odr <16 x i32> @plain.mask.cvtps2dq.512(<16 x float> %a, <16 x i32> %kept, i16 %mask, i32 %rounding) alwaysinline {
  %whole = call <16 x float> @llvm.rint.v16f32(<16 x float> %a)
  %enough = fcmp oge <16 x float> %whole, splat (float 0xC1E0000000000000)
  %few = fcmp olt <16 x float> %whole, splat (float 0x41E0000000000000)
  %fits = and <16 x i1> %enough, %few
  %within = select <16 x i1> %fits, <16 x float> %whole, <16 x float> splat (float 0xC1E0000000000000)
  %result = fptosi <16 x float> %within to <16 x i32>
  ret <16 x i32> %result
}

; vcvtph2ps of all lanes: float32 of binary16, which is exact.
define linkonce_odr <16 x float> @plain.mask.vcvtph2ps.512(<16 x i16> %a, <16 x float> %kept, i16 %mask, i32 %rounding) alwaysinline {
  %halves = bitcast <16 x i16> %a to <16 x half>
  %result = fpext <16 x half> %halves to <16 x float>
  ret <16 x float> %result
}

; vpshufb: each 128 bits are a table of their own, as for SSSE3's.
define linkonce_odr <64 x i8> @plain.pshuf.b.512(<64 x i8> %tables, <64 x i8> %indices) alwaysinline {
  %table0 = shufflevector <64 x i8> %tables, <64 x i8> poison,
    <16 x i32> <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7, i32 8, i32 9, i32 10, i32 11, i32 12, i32 13, i32 14, i32 15>
  %index0 = shufflevector <64 x i8> %indices, <64 x i8> poison,
    <16 x i32> <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7, i32 8, i32 9, i32 10, i32 11, i32 12, i32 13, i32 14, i32 15>
  %found0 = call <16 x i8> @llvm.x86.ssse3.pshuf.b.128(<16 x i8> %table0, <16 x i8> %index0)
  %table1 = shufflevector <64 x i8> %tables, <64 x i8> poison,
    <16 x i32> <i32 16, i32 17, i32 18, i32 19, i32 20, i32 21, i32 22, i32 23, i32 24, i32 25, i32 26, i32 27, i32 28, i32 29, i32 30, i32 31>
  %index1 = shufflevector <64 x i8> %indices, <64 x i8> poison,
    <16 x i32> <i32 16, i32 17, i32 18, i32 19, i32 20, i32 21, i32 22, i32 23, i32 24, i32 25, i32 26, i32 27, i32 28, i32 29, i32 30, i32 31>
  %found1 = call <16 x i8> @llvm.x86.ssse3.pshuf.b.128(<16 x i8> %table1, <16 x i8> %index1)
  %table2 = shufflevector <64 x i8> %tables, <64 x i8> poison,
    <16 x i32> <i32 32, i32 33, i32 34, i32 35, i32 36, i32 37, i32 38, i32 39, i32 40, i32 41, i32 42, i32 43, i32 44, i32 45, i32 46, i32 47>
  %index2 = shufflevector <64 x i8> %indices, <64 x i8> poison,
    <16 x i32> <i32 32, i32 33, i32 34, i32 35, i32 36, i32 37, i32 38, i32 39, i32 40, i32 41, i32 42, i32 43, i32 44, i32 45, i32 46, i32 47>
  %found2 = call <16 x i8> @llvm.x86.ssse3.pshuf.b.128(<16 x i8> %table2, <16 x i8> %index2)
  %table3 = shufflevector <64 x i8> %tables, <64 x i8> poison,
    <16 x i32> <i32 48, i32 49, i32 50, i32 51, i32 52, i32 53, i32 54, i32 55, i32 56, i32 57, i32 58, i32 59, i32 60, i32 61, i32 62, i32 63>
  %index3 = shufflevector <64 x i8> %indices, <64 x i8> poison,
    <16 x i32> <i32 48, i32 49, i32 50, i32 51, i32 52, i32 53, i32 54, i32 55, i32 56, i32 57, i32 58, i32 59, i32 60, i32 61, i32 62, i32 63>
  %found3 = call <16 x i8> @llvm.x86.ssse3.pshuf.b.128(<16 x i8> %table3, <16 x i8> %index3)
  %first = shufflevector <16 x i8> %found0, <16 x i8> %found1,
    <32 x i32> <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7, i32 8, i32 9, i32 10, i32 11, i32 12, i32 13, i32 14, i32 15, i32 16, i32 17, i32 18, i32 19, i32 20, i32 21, i32 22, i32 23, i32 24, i32 25, i32 26, i32 27, i32 28, i32 29, i32 30, i32 31>
  %last = shufflevector <16 x i8> %found2, <16 x i8> %found3,
    <32 x i32> <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7, i32 8, i32 9, i32 10, i32 11, i32 12, i32 13, i32 14, i32 15, i32 16, i32 17, i32 18, i32 19, i32 20, i32 21, i32 22, i32 23, i32 24, i32 25, i32 26, i32 27, i32 28, i32 29, i32 30, i32 31>
  %result = shufflevector <32 x i8> %first, <32 x i8> %last,
    <64 x i32> <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7, i32 8, i32 9, i32 10, i32 11, i32 12, i32 13, i32 14, i32 15, i32 16, i32 17, i32 18, i32 19, i32 20, i32 21, i32 22, i32 23, i32 24, i32 25, i32 26, i32 27, i32 28, i32 29, i32 30, i32 31, i32 32, i32 33, i32 34, i32 35, i32 36, i32 37, i32 38, i32 39, i32 40, i32 41, i32 42, i32 43, i32 44, i32 45, i32 46, i32 47, i32 48, i32 49, i32 50, i32 51, i32 52, i32 53, i32 54, i32 55, i32 56, i32 57, i32 58, i32 59, i32 60, i32 61, i32 62, i32 63>
  ret <64 x i8> %result
}

declare <32 x i16> @llvm.sadd.sat.v32i16(<32 x i16>, <32 x i16>)
declare <64 x i16> @llvm.smax.v64i16(<64 x i16>, <64 x i16>)
declare <64 x i16> @llvm.smin.v64i16(<64 x i16>, <64 x i16>)
declare <32 x i32> @llvm.smax.v32i32(<32 x i32>, <32 x i32>)
declare <32 x i32> @llvm.smin.v32i32(<32 x i32>, <32 x i32>)
declare <16 x float> @llvm.rint.v16f32(<16 x float>)
declare <16 x i8> @llvm.x86.ssse3.pshuf.b.128(<16 x i8>, <16 x i8>)

; Registers of tiles, which all have their full shape: 16 rows of 64 bytes.
@plain.tiles = internal global [8 x [16 x <16 x i32>]] zeroinitializer

define linkonce_odr void @plain.ldtilecfg(ptr %shapes) {
  ret void
}

define linkonce_odr void @plain.tilerelease() {
  ret void
}

define linkonce_odr void @plain.tilezero(i8 %tile) {
  %to = getelementptr [16 x <16 x i32>], ptr @plain.tiles, i8 %tile
  store [16 x <16 x i32>] zeroinitializer, ptr %to
  ret void
}

define linkonce_odr void @plain.tileloadd64(i8 %tile, ptr %memory, i64 %apart) {
  %to = getelementptr [16 x <16 x i32>], ptr @plain.tiles, i8 %tile
  br label %rows
rows:
  %row = phi i64 [ 0, %0 ], [ %next, %rows ]
  %offset = mul i64 %row, %apart
  %from = getelementptr i8, ptr %memory, i64 %offset
  %value = load <16 x i32>, ptr %from, align 1
  %place = getelementptr <16 x i32>, ptr %to, i64 %row
  store <16 x i32> %value, ptr %place
  %next = add i64 %row, 1
  %more = icmp ult i64 %next, 16
  br i1 %more, label %rows, label %end
end:
  ret void
}

define linkonce_odr void @plain.tilestored64(i8 %tile, ptr %memory, i64 %apart) {
  %from = getelementptr [16 x <16 x i32>], ptr @plain.tiles, i8 %tile
  br label %rows
rows:
  %row = phi i64 [ 0, %0 ], [ %next, %rows ]
  %place = getelementptr <16 x i32>, ptr %from, i64 %row
  %value = load <16 x i32>, ptr %place
  %offset = mul i64 %row, %apart
  %to = getelementptr i8, ptr %memory, i64 %offset
  store <16 x i32> %value, ptr %to, align 1
  %next = add i64 %row, 1
  %more = icmp ult i64 %next, 16
  br i1 %more, label %rows, label %end
end:
  ret void
}

; tdpbusd: row by row, for each quad of the first tile's row what vpdpbusd does with a row of the second.
define linkonce_odr void @plain.tdpbusd(i8 %sums, i8 %unsigned, i8 %signed) {
  %c = getelementptr [16 x <16 x i32>], ptr @plain.tiles, i8 %sums
  %a = getelementptr [16 x <16 x i32>], ptr @plain.tiles, i8 %unsigned
  %b = getelementptr [16 x <16 x i32>], ptr @plain.tiles, i8 %signed
  br label %rows
rows:
  %row = phi i64 [ 0, %0 ], [ %row.next, %row.end ]
  %sum.place = getelementptr <16 x i32>, ptr %c, i64 %row
  %first = load <16 x i32>, ptr %sum.place
  br label %quads
quads:
  %k = phi i64 [ 0, %rows ], [ %k.next, %quads ]
  %sum = phi <16 x i32> [ %first, %rows ], [ %added, %quads ]
  %quad.place = getelementptr [16 x i32], ptr %a, i64 %row, i64 %k
  %quad = load i32, ptr %quad.place
  %one = insertelement <16 x i32> poison, i32 %quad, i64 0
  %all = shufflevector <16 x i32> %one, <16 x i32> poison, <16 x i32> zeroinitializer
  %all.bytes = bitcast <16 x i32> %all to <64 x i8>
  %filters.place = getelementptr <16 x i32>, ptr %b, i64 %k
  %filters = load <64 x i8>, ptr %filters.place
  %added = call <16 x i32> @plain.vpdpbusd.512(<16 x i32> %sum, <64 x i8> %all.bytes, <64 x i8> %filters)
  %k.next = add i64 %k, 1
  %k.more = icmp ult i64 %k.next, 16
  br i1 %k.more, label %quads, label %row.end
row.end:
  store <16 x i32> %added, ptr %sum.place
  %row.next = add i64 %row, 1
  %row.more = icmp ult i64 %row.next, 16
  br i1 %row.more, label %rows, label %end
end:
  ret void
}
