// A shared library that loads and has no symbol moe_plugin.
extern "C" __attribute__((visibility("default"))) int not_a_plugin() { return 0; }
