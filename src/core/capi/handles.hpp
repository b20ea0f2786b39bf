// What the opaque handles of the C interface hold, for the capi files that take another file's handle.
#pragma once

#include <memory>

#include "codec/codec.hpp"

struct phnsw_codec {
  std::unique_ptr<phnsw::Codec> codec;
};
