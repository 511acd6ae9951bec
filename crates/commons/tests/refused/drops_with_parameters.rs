use commons::Shareable;

#[repr(C)]
#[derive(Shareable)]
struct DroppingToo<T> { //~ conflicting implementations of trait //~ NothingIsEverDroppedInSharedMemorySoThereIsNoDrop
    a: T,
}

impl<T> Drop for DroppingToo<T> {
    fn drop(&mut self) {}
}
