//! The buffers of one launch, as a kernel's CPU code sees them.

use bytemuck::Pod;

/// How a kernel uses a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only read.
    Read,
    /// Every element is written, none is read before it is written.
    Write,
    /// Read and written in place.
    Update,
}

/// What a buffer can hold.
pub trait Element: Pod + Send + Sync {}
impl Element for f32 {}
impl Element for f64 {}
impl Element for u32 {}

/// One bound buffer.
pub enum Slot<'a> {
    /// A buffer the kernel may only read.
    Read(&'a [u8]),
    /// A buffer the kernel writes.
    Write(&'a mut [u8]),
}

/// The bound buffers of one launch, taken one by one in the kernel's declared order.
/// An optional buffer that the caller left out is an empty slice.
pub struct Buffers<'a> {
    slots: std::vec::IntoIter<Slot<'a>>,
}

impl<'a> Buffers<'a> {
    /// Binds `slots` in the kernel's declared order.
    pub fn new(slots: Vec<Slot<'a>>) -> Self {
        Buffers { slots: slots.into_iter() }
    }

    /// The next buffer, which the kernel declared as [`Access::Read`].
    ///
    /// # Panics
    /// When the launcher bound fewer buffers than declared, or a writable one here: a fault of the launcher.
    pub fn read<T: Element>(&mut self) -> &'a [T] {
        match self.slots.next() {
            // An absent buffer has no alignment to speak of.
            Some(Slot::Read([])) => &[],
            Some(Slot::Read(bytes)) => bytemuck::cast_slice(bytes),
            _ => panic!("the launcher bound no readable buffer where the kernel declares one"),
        }
    }

    /// The next buffer, which the kernel declared as [`Access::Write`] or [`Access::Update`].
    ///
    /// # Panics
    /// When the launcher bound fewer buffers than declared, or a read-only one here: a fault of the launcher.
    pub fn write<T: Element>(&mut self) -> &'a mut [T] {
        match self.slots.next() {
            Some(Slot::Write([])) => &mut [],
            Some(Slot::Write(bytes)) => bytemuck::cast_slice_mut(bytes),
            _ => panic!("the launcher bound no writable buffer where the kernel declares one"),
        }
    }
}
