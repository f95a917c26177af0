//! CRC-16 and CRC-32, a byte at a time through tables that the compiler fills.

/// CRC-16/XMODEM with a register that is not cut to 16 bits: higher bits stay, and only the low
/// half is the checksum (twemproxy `hash_crc16`).
pub(super) fn crc16(key: &[u8]) -> u32 {
    key.iter().fold(0, |crc, &byte| crc << 8 ^ CRC16[low_byte(crc >> 8 ^ u32::from(byte))])
}

/// CRC-32 as in zlib, Ethernet and PNG (twemproxy `hash_crc32a`).
pub(super) fn crc32(key: &[u8]) -> u32 {
    !key.iter().fold(!0, |crc, &byte| crc >> 8 ^ CRC32[low_byte(crc ^ u32::from(byte))])
}

const fn low_byte(crc: u32) -> usize {
    (crc & 0xff) as usize
}

const CRC16: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = crc << 1 ^ if crc & 0x8000 == 0 { 0 } else { 0x1_1021 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

const CRC32: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 == 0 { 0 } else { 0xedb8_8320 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_meet_the_check_value_of_the_catalogue() {
        assert_eq!(crc16(b"123456789") & 0xffff, 0x31c3);
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn the_unmasked_upper_half_of_crc16_is_kept() {
        assert_eq!(crc16(b"apple"), 0xda52_5bb4);
    }
}
