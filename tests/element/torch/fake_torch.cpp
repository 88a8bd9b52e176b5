// Has the name of LibTorch's library, and nothing else of it.

extern "C" int fake_torch() { return 0; }
