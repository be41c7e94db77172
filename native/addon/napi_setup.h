// The only place that includes napi.h, so that its switches are the same everywhere.
#pragma once
#include <napi.h>
