/** What LZ4 makes of a byte at most, in whatever it is a part of. */
export const greatestLz4Ratio = 255
