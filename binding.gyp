{
  # A thin shim: sources, flags and options live in CMakeLists.txt only.
  "targets": [{
    "target_name": "moe",
    "type": "none",
    "actions": [{
      "action_name": "cmake",
      "message": "building native/ with CMake",
      "inputs": ["CMakeLists.txt"],
      "outputs": ["<(module_root_dir)/build/Release/moe.node"],
      "action": ["node", "<(module_root_dir)/scripts/build-native.cjs"]
    }]
  }]
}
