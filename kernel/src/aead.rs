//! AES-256-GCM and the key derivation of XAES-256-GCM (C2SP), on AWS-LC. Key schedules are wiped when they are dropped.

use std::mem::MaybeUninit;
use std::ptr;

use aws_lc_sys as aws_lc;
use pyo3::prelude::*;

use crate::rows::NotOpened;

pub const KEY_BYTES: usize = 32;
pub const PREFIX_BYTES: usize = 12;
pub const NONCE_BYTES: usize = 12;
pub const TAG_BYTES: usize = 16;
const BLOCK_BYTES: usize = 16;

/// AES-256-GCM under one key. Several threads may use it at once.
#[pyclass(frozen)]
pub struct Subkey {
    context: *mut aws_lc::EVP_AEAD_CTX,
}

// AWS-LC only reads a context when it seals and opens (openssl/aead.h, "thread-safe").
unsafe impl Send for Subkey {}
unsafe impl Sync for Subkey {}

impl Subkey {
    pub fn new(key: &[u8; KEY_BYTES]) -> PyResult<Self> {
        let context = unsafe {
            aws_lc::EVP_AEAD_CTX_new(
                aws_lc::EVP_aead_aes_256_gcm(),
                key.as_ptr(),
                KEY_BYTES,
                TAG_BYTES,
            )
        };
        if context.is_null() {
            return Err(pyo3::exceptions::PyMemoryError::new_err(
                "AWS-LC made no context",
            ));
        }
        Ok(Subkey { context })
    }

    /// Seal `length` bytes at `plaintext`, and write ciphertext and tag to `out`. Return false if the library fails.
    ///
    /// # Safety
    /// `plaintext` is readable for `length` bytes, `out` writable for `length + TAG_BYTES`, and they do not overlap.
    #[inline]
    pub unsafe fn seal(
        &self,
        nonce: *const u8,
        plaintext: *const u8,
        length: usize,
        ad: &[u8],
        out: *mut u8,
    ) -> bool {
        let mut written = 0;
        unsafe {
            aws_lc::EVP_AEAD_CTX_seal(
                self.context,
                out,
                &mut written,
                length + TAG_BYTES,
                nonce,
                NONCE_BYTES,
                plaintext,
                length,
                ad.as_ptr(),
                ad.len(),
            ) == 1
        }
    }

    /// Open `length` bytes of ciphertext and tag, and write `length - TAG_BYTES` bytes to `out`. Return false if the tag is wrong.
    ///
    /// # Safety
    /// As `seal`; `length` is at least `TAG_BYTES`.
    #[inline]
    pub unsafe fn open(
        &self,
        nonce: *const u8,
        sealed: *const u8,
        length: usize,
        ad: &[u8],
        out: *mut u8,
    ) -> bool {
        let mut written = 0;
        unsafe {
            aws_lc::EVP_AEAD_CTX_open(
                self.context,
                out,
                &mut written,
                length - TAG_BYTES,
                nonce,
                NONCE_BYTES,
                sealed,
                length,
                ad.as_ptr(),
                ad.len(),
            ) == 1
        }
    }
}

impl Drop for Subkey {
    fn drop(&mut self) {
        unsafe { aws_lc::EVP_AEAD_CTX_free(self.context) } // AWS-LC wipes what it frees
    }
}

/// Derives the AES-256-GCM keys of XAES-256-GCM: NIST SP 800-108r1 in counter mode with CMAC-AES-256, label "X".
pub struct Derivation {
    schedule: Box<aws_lc::AES_KEY>,
    subkey1: [u8; BLOCK_BYTES],
}

impl Derivation {
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        let mut schedule: Box<MaybeUninit<aws_lc::AES_KEY>> = Box::new(MaybeUninit::zeroed());
        let made = unsafe { aws_lc::AES_set_encrypt_key(key.as_ptr(), 256, schedule.as_mut_ptr()) };
        assert_eq!(made, 0, "a key of 256 bits is always taken");
        let mut derivation = Derivation {
            schedule: unsafe { schedule.assume_init() },
            subkey1: [0; BLOCK_BYTES],
        };
        let left = u128::from_be_bytes(derivation.encrypt([0; BLOCK_BYTES]));
        let folded = if left >> 127 == 1 { 0x87 } else { 0 };
        derivation.subkey1 = ((left << 1) ^ folded).to_be_bytes();
        derivation
    }

    /// Return the key for nonces that begin with `prefix`.
    pub fn derive(&self, prefix: &[u8; PREFIX_BYTES]) -> PyResult<Subkey> {
        let mut key = [0; KEY_BYTES];
        for (counter, half) in (1u8..).zip(key.chunks_exact_mut(BLOCK_BYTES)) {
            let mut block = [0; BLOCK_BYTES]; // one whole block: 0x00, counter, "X", 0x00, prefix
            block[1] = counter;
            block[2] = b'X';
            block[BLOCK_BYTES - PREFIX_BYTES..].copy_from_slice(prefix);
            block
                .iter_mut()
                .zip(self.subkey1)
                .for_each(|(byte, mask)| *byte ^= mask);
            unsafe { aws_lc::AES_encrypt(block.as_ptr(), half.as_mut_ptr(), &*self.schedule) };
            wipe(&mut block); // a constant block XORed with the mask, which is secret
        }
        let subkey = Subkey::new(&key);
        wipe(&mut key);
        subkey
    }

    fn encrypt(&self, block: [u8; BLOCK_BYTES]) -> [u8; BLOCK_BYTES] {
        let mut out = [0; BLOCK_BYTES];
        unsafe { aws_lc::AES_encrypt(block.as_ptr(), out.as_mut_ptr(), &*self.schedule) };
        out
    }
}

impl Drop for Derivation {
    fn drop(&mut self) {
        wipe(&mut self.subkey1);
        unsafe {
            aws_lc::OPENSSL_cleanse(
                ptr::from_mut(&mut *self.schedule).cast(),
                size_of::<aws_lc::AES_KEY>(),
            )
        }
    }
}

/// Overwrite the bytes of a key. The compiler can't remove this write.
pub fn wipe(bytes: &mut [u8]) {
    unsafe { aws_lc::OPENSSL_cleanse(bytes.as_mut_ptr().cast(), bytes.len()) }
}

/// Return the bytes of a key or of a nonce prefix as an array.
pub fn exactly<const N: usize>(bytes: &[u8]) -> PyResult<[u8; N]> {
    bytes
        .try_into()
        .map_err(|_| NotOpened::new_err("cut too short"))
}
