// Distances on a GPU, tiled as the published kernels of l_inf-dist nets: 16 x 16 threads,
// arrays staged through shared memory 16 deep, no tensor cores, gradients of the weights
// by atomic additions. Written from their description.
//
// x [B,D], w [O,D], y and g [B,O], all float32. An index is the input that attains the
// maximum, with the sign of x - w in its top bit.

#include <cstdint>
#include <stdexcept>

#include <cuda_runtime.h>
#include <pybind11/pybind11.h>

namespace {

constexpr int SIDE = 16;    // threads along both axes of a block
constexpr int DEPTH = 16;   // rows staged at a time
constexpr int CHUNK = 1024; // inputs per block where a maximum is split
constexpr int INPUTS = 48;  // per block of the gradients
constexpr int SIGN = 1 << 31;

struct Sizes {
  int batch, inputs, outputs;
};

template <int ROWS> using Tile = float[DEPTH][ROWS + 1];

// tile[k][row] = a[row0 + row, k0 + k], zero outside of a [rows, columns]
template <int ROWS>
__device__ void stage(Tile<ROWS> &tile, const float *a, int row0, int rows, int k0,
                      int columns) {
  for (int j = threadIdx.y * SIDE + threadIdx.x; j < ROWS * DEPTH; j += SIDE * SIDE) {
    int row = j / DEPTH, k = j % DEPTH;
    bool inside = row0 + row < rows && k0 + k < columns;
    tile[k][row] = inside ? a[int64_t(row0 + row) * columns + k0 + k] : 0.f;
  }
}

// use(k, r, c, x - w) for the R samples and C outputs of this thread at all staged inputs
template <int R, int C, class Use>
__device__ void each(const Tile<SIDE * R> &xs, const Tile<SIDE * C> &ws, Use use) {
#pragma unroll 4
  for (int k = 0; k < DEPTH; k++)
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
      for (int c = 0; c < C; c++)
        use(k, r, c, xs[k][threadIdx.y + SIDE * r] - ws[k][threadIdx.x + SIDE * c]);
}

// use(r, c, position in y) for those of this thread that exist
template <int R, int C, class Use> __device__ void outputs_of(Sizes n, Use use) {
#pragma unroll
  for (int r = 0; r < R; r++)
#pragma unroll
    for (int c = 0; c < C; c++) {
      int b = (blockIdx.y * R + r) * SIDE + threadIdx.y;
      int o = (blockIdx.x * C + c) * SIDE + threadIdx.x;
      if (b < n.batch && o < n.outputs)
        use(r, c, int64_t(b) * n.outputs + o);
    }
}

// r^n, multiplied for N = 7 and 8, else |r|^n by fast logarithm and exponential
template <int N> __device__ float power(float r, float n) {
  if (N == 0)
    return __powf(fabsf(r), n);
  float r2 = r * r, r4 = r2 * r2;
  return N == 8 ? r4 * r4 : r4 * r2 * r;
}

// N = 8, or N = 0 for any p: then scaled by the running maximum
template <int N>
__global__ void sum_of_powers(const float *x, const float *w, float *y, Sizes n,
                              float p) {
  __shared__ Tile<2 * SIDE> xs;
  __shared__ Tile<4 * SIDE> ws;
  float sum[2][4] = {}, most[2][4] = {}, scale[2][4];
  for (int i = 0; i < n.inputs; i += DEPTH) {
    stage<2 * SIDE>(xs, x, blockIdx.y * 2 * SIDE, n.batch, i, n.inputs);
    stage<4 * SIDE>(ws, w, blockIdx.x * 4 * SIDE, n.outputs, i, n.inputs);
    __syncthreads();
    if (N == 0) {
      float before[2][4];
      for (int j = 0; j < 8; j++)
        before[j / 4][j % 4] = most[j / 4][j % 4];
      each<2, 4>(xs, ws, [&](int, int r, int c, float d) {
        most[r][c] = fmaxf(most[r][c], fabsf(d));
      });
#pragma unroll
      for (int j = 0; j < 8; j++) {
        float m = most[j / 4][j % 4];
        scale[j / 4][j % 4] = m > 0 ? 1 / m : 0;
        if (m > before[j / 4][j % 4])
          sum[j / 4][j % 4] *= __powf(before[j / 4][j % 4] / m, p);
      }
    }
    each<2, 4>(xs, ws, [&](int, int r, int c, float d) {
      sum[r][c] += power<N>(N == 0 ? d * scale[r][c] : d, p);
    });
    __syncthreads();
  }
  outputs_of<2, 4>(n, [&](int r, int c, int64_t at) {
    y[at] = (N == 0 ? most[r][c] : 1.f) * powf(sum[r][c], 1 / p);
  });
}

__global__ void maximum_and_index(const float *x, const float *w, float *y, int *index,
                                  Sizes n) {
  __shared__ Tile<2 * SIDE> xs;
  __shared__ Tile<4 * SIDE> ws;
  float most[2][4];
  int where[2][4] = {};
  for (int j = 0; j < 8; j++)
    most[j / 4][j % 4] = -1;
  for (int i = 0; i < n.inputs; i += DEPTH) {
    stage<2 * SIDE>(xs, x, blockIdx.y * 2 * SIDE, n.batch, i, n.inputs);
    stage<4 * SIDE>(ws, w, blockIdx.x * 4 * SIDE, n.outputs, i, n.inputs);
    __syncthreads();
    each<2, 4>(xs, ws, [&](int k, int r, int c, float d) {
      if (fabsf(d) > most[r][c]) {
        most[r][c] = fabsf(d);
        where[r][c] = (i + k) | (__float_as_int(d) & SIGN);
      }
    });
    __syncthreads();
  }
  outputs_of<2, 4>(n, [&](int r, int c, int64_t at) {
    y[at] = most[r][c];
    index[at] = where[r][c];
  });
}

// Without gradients: the inputs are split among blocks; y begins as zeros.
__global__ void maximum(const float *x, const float *w, float *y, Sizes n) {
  __shared__ Tile<4 * SIDE> xs, ws;
  float most[4][4] = {};
  int from = blockIdx.z * CHUNK, to = min(from + CHUNK, n.inputs);
  for (int i = from; i < to; i += DEPTH) {
    stage<4 * SIDE>(xs, x, blockIdx.y * 4 * SIDE, n.batch, i, n.inputs);
    stage<4 * SIDE>(ws, w, blockIdx.x * 4 * SIDE, n.outputs, i, n.inputs);
    __syncthreads();
    each<4, 4>(xs, ws, [&](int, int r, int c, float d) {
      most[r][c] = fmaxf(most[r][c], fabsf(d));
    });
    __syncthreads();
  }
  outputs_of<4, 4>(n, [&](int r, int c, int64_t at) {
    // the bits of numbers above zero are ordered as the numbers
    atomicMax(reinterpret_cast<int *>(y) + at, __float_as_int(most[r][c]));
  });
}

// gx and gw begin as zeros.
__global__ void scatter(const int *index, const float *g, float *gx, float *gw,
                        Sizes n) {
  int64_t at = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= int64_t(n.batch) * n.outputs)
    return;
  int64_t b = at / n.outputs, o = at % n.outputs, i = index[at] & ~SIGN;
  float v = index[at] & SIGN ? -g[at] : g[at];
  atomicAdd(gx + b * n.inputs + i, v);
  atomicAdd(gw + o * n.inputs + i, -v);
}

// A block owns 32 samples x 48 inputs, a thread 2 x 3, and walks over all outputs; 16
// outputs are summed over its samples by shuffles and added to gw, which begins as zeros.
template <int N>
__global__ void gradients(const float *x, const float *w, const float *y,
                          const float *g, float *gx, float *gw, Sizes n, float p) {
  __shared__ Tile<2 * SIDE> ys, gs;
  __shared__ Tile<INPUTS> ws, totals;
  int lane = threadIdx.x, thread = threadIdx.y * SIDE + threadIdx.x;
  int b0 = blockIdx.y * 2 * SIDE, i0 = blockIdx.x * INPUTS;
  float own[2][3], sum[2][3] = {};
  for (int j = 0; j < 6; j++) {
    int b = b0 + SIDE * (j / 3) + lane, i = i0 + SIDE * (j % 3) + threadIdx.y;
    bool inside = b < n.batch && i < n.inputs;
    own[j / 3][j % 3] = inside ? x[int64_t(b) * n.inputs + i] : 0.f;
  }
  for (int o = 0; o < n.outputs; o += DEPTH) {
    stage<2 * SIDE>(ys, y, b0, n.batch, o, n.outputs);
    stage<2 * SIDE>(gs, g, b0, n.batch, o, n.outputs);
    for (int j = thread; j < DEPTH * INPUTS; j += SIDE * SIDE) {
      int row = o + j / INPUTS, i = i0 + j % INPUTS;
      bool inside = row < n.outputs && i < n.inputs;
      ws[j / INPUTS][j % INPUTS] = inside ? w[int64_t(row) * n.inputs + i] : 0.f;
    }
    __syncthreads();
    for (int j = thread; j < 2 * SIDE * DEPTH; j += SIDE * SIDE) {
      float &here = ys[j % DEPTH][j / DEPTH];
      here = here > 0 ? 1 / here : 0;
    }
    __syncthreads();
    float v[3][DEPTH];
#pragma unroll
    for (int k = 0; k < DEPTH; k++)
#pragma unroll
      for (int c = 0; c < 3; c++) {
        v[c][k] = 0;
#pragma unroll
        for (int r = 0; r < 2; r++) {
          float d = own[r][c] - ws[k][SIDE * c + threadIdx.y];
          float q = power<N>(d * ys[k][SIDE * r + lane], p - 1);
          q = (N == 0 ? copysignf(q, d) : q) * gs[k][SIDE * r + lane];
          sum[r][c] += q;
          v[c][k] -= q;
        }
      }
#pragma unroll
    for (int c = 0; c < 3; c++) { // lane k of 16 is left with the sum of v[c][k]
#pragma unroll
      for (int step = 1; step < DEPTH; step *= 2)
#pragma unroll
        for (int k = 0; k < DEPTH / 2 / step; k++) {
          const int half = DEPTH / 2 / step;
          bool upper = lane & half;
          float sent = upper ? v[c][k] : v[c][k + half];
          float kept = upper ? v[c][k + half] : v[c][k];
          v[c][k] = kept + __shfl_xor_sync(~0u, sent, half);
        }
      totals[lane][SIDE * c + threadIdx.y] = v[c][0];
    }
    __syncthreads();
    for (int j = thread; j < DEPTH * INPUTS; j += SIDE * SIDE) {
      int row = o + j / INPUTS, i = i0 + j % INPUTS;
      if (row < n.outputs && i < n.inputs)
        atomicAdd(gw + int64_t(row) * n.inputs + i, totals[j / INPUTS][j % INPUTS]);
    }
  }
  for (int j = 0; j < 6; j++) {
    int b = b0 + SIDE * (j / 3) + lane, i = i0 + SIDE * (j % 3) + threadIdx.y;
    if (b < n.batch && i < n.inputs)
      gx[int64_t(b) * n.inputs + i] = sum[j / 3][j % 3];
  }
}

// --- called from Python with addresses and a stream -------------------------------------

template <class T> T *at(uintptr_t address) { return reinterpret_cast<T *>(address); }

int blocks(int64_t n, int size) { return int((n + size - 1) / size); }

void check() {
  cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess)
    throw std::runtime_error(cudaGetErrorString(error));
}

const dim3 THREADS(SIDE, SIDE);

// index 0: not wanted
void forward_inf(uintptr_t x, uintptr_t w, uintptr_t y, uintptr_t index, int batch,
                 int inputs, int outputs, uintptr_t stream) {
  Sizes n{batch, inputs, outputs};
  int columns = blocks(outputs, 4 * SIDE);
  if (index) {
    maximum_and_index<<<dim3(columns, blocks(batch, 2 * SIDE)), THREADS, 0,
                        at<CUstream_st>(stream)>>>(
        at<float>(x), at<float>(w), at<float>(y), at<int>(index), n);
  } else {
    maximum<<<dim3(columns, blocks(batch, 4 * SIDE), blocks(inputs, CHUNK)), THREADS, 0,
              at<CUstream_st>(stream)>>>(at<float>(x), at<float>(w), at<float>(y), n);
  }
  check();
}

void backward_inf(uintptr_t index, uintptr_t g, uintptr_t gx, uintptr_t gw, int batch,
                  int inputs, int outputs, uintptr_t stream) {
  Sizes n{batch, inputs, outputs};
  scatter<<<blocks(int64_t(batch) * outputs, 256), 256, 0, at<CUstream_st>(stream)>>>(
      at<int>(index), at<float>(g), at<float>(gx), at<float>(gw), n);
  check();
}

void forward(uintptr_t x, uintptr_t w, uintptr_t y, int batch, int inputs, int outputs,
             float p, uintptr_t stream) {
  auto kernel = p == 8 ? sum_of_powers<8> : sum_of_powers<0>;
  kernel<<<dim3(blocks(outputs, 4 * SIDE), blocks(batch, 2 * SIDE)), THREADS, 0,
           at<CUstream_st>(stream)>>>(at<float>(x), at<float>(w), at<float>(y),
                                      Sizes{batch, inputs, outputs}, p);
  check();
}

void backward(uintptr_t x, uintptr_t w, uintptr_t y, uintptr_t g, uintptr_t gx,
              uintptr_t gw, int batch, int inputs, int outputs, float p,
              uintptr_t stream) {
  auto kernel = p == 8 ? gradients<7> : gradients<0>;
  kernel<<<dim3(blocks(inputs, INPUTS), blocks(batch, 2 * SIDE)), THREADS, 0,
           at<CUstream_st>(stream)>>>(
      at<float>(x), at<float>(w), at<float>(y), at<float>(g), at<float>(gx),
      at<float>(gw), Sizes{batch, inputs, outputs}, p);
  check();
}

} // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("forward_inf", forward_inf);
  m.def("backward_inf", backward_inf);
  m.def("forward", forward);
  m.def("backward", backward);
}
