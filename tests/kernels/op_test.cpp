#include "tests/kernels/op_test.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

namespace heddle::test {

std::vector<OpCase> all_cases() {
  std::vector<OpCase> cases;
  for (const Backend& backend : all_backends())
    for (DType act : {DType::f32, DType::bf16}) cases.push_back({&backend, act});
  return cases;
}

std::string case_name(const testing::TestParamInfo<OpCase>& info) {
  return info.param.backend->name + "_" + name_of(info.param.act);
}

void PrintTo(const OpCase& op_case, std::ostream* out) {
  *out << op_case.backend->name << " " << name_of(op_case.act);
}

namespace {

constexpr std::size_t kGuardBytes = 256;
constexpr unsigned char kGuard = 0xa5, kPoison = 0xff;

}  // namespace

Buffer::Buffer(Device& device, DType dtype, Shape shape) : device_(&device) {
  const std::size_t bytes = Tensor(nullptr, dtype, shape).bytes();
  memory_ = device.allocate(bytes + 2 * kGuardBytes);
  std::vector<unsigned char> image(memory_.bytes(), kGuard);
  std::fill_n(image.begin() + kGuardBytes, bytes, kPoison);
  device.copy_to_device(device.compute_stream(),
                        Tensor(memory_.data(), DType::u8, {static_cast<std::int64_t>(image.size())}),
                        image.data());
  device.compute_stream().synchronize();
  tensor_ = Tensor(static_cast<unsigned char*>(memory_.data()) + kGuardBytes, dtype, shape);
}

Buffer::Buffer(Device& device, DType dtype, const Array<double>& values)
    : Buffer(device, dtype, values.shape) {
  std::vector<unsigned char> image(tensor_.bytes());
  reference::to_tensor(values, Tensor(image.data(), dtype, values.shape));
  upload(image);
}

Buffer::Buffer(Device& device, const std::vector<std::int32_t>& values)
    : Buffer(device, DType::i32, {static_cast<std::int64_t>(values.size())}) {
  std::vector<unsigned char> image(tensor_.bytes());
  if (!values.empty()) std::memcpy(image.data(), values.data(), image.size());
  upload(image);
}

Buffer::~Buffer() {
  if (memory_.data() == nullptr) return;  // moved from
  std::vector<unsigned char> image(memory_.bytes());
  device_->copy_to_host(device_->compute_stream(), image.data(),
                        Tensor(memory_.data(), DType::u8, {static_cast<std::int64_t>(image.size())}));
  device_->compute_stream().synchronize();
  bool intact = true;
  for (std::size_t i = 0; i < kGuardBytes; ++i)
    intact = intact && image[i] == kGuard && image[image.size() - 1 - i] == kGuard;
  EXPECT_TRUE(intact) << "written outside of a tensor " << tensor_.shape.to_string();
}

void Buffer::upload(const std::vector<unsigned char>& bytes) {
  device_->copy_to_device(device_->compute_stream(), tensor_, bytes.data());
  device_->compute_stream().synchronize();
}

std::vector<unsigned char> Buffer::bytes() const {
  std::vector<unsigned char> image(tensor_.bytes());
  device_->copy_to_host(device_->compute_stream(), image.data(), tensor_);
  device_->compute_stream().synchronize();
  return image;
}

template <typename Real>
Array<Real> Buffer::values() const {
  std::vector<unsigned char> image = bytes();
  if (image.empty()) return Array<Real>(tensor_.shape);
  return reference::from_tensor<Real>(Tensor(image.data(), tensor_.dtype, tensor_.shape));
}

template Array<float> Buffer::values() const;
template Array<double> Buffer::values() const;

Array<double> Random::normal(Shape shape, double deviation) {
  std::normal_distribution<double> distribution(0, deviation);
  Array<double> array(shape);
  for (double& value : array.values) value = distribution(engine_);
  return array;
}

std::vector<std::int32_t> Random::integers(std::int64_t count, std::int32_t low, std::int32_t high) {
  std::uniform_int_distribution<std::int32_t> distribution(low, high);
  std::vector<std::int32_t> values(count);
  for (std::int32_t& value : values) value = distribution(engine_);
  return values;
}

void expect_close(const Buffer& actual, const Array<double>& exact, const Array<float>& naive,
                  const std::string& what, double allowance) {
  const DType dtype = actual.tensor().dtype;
  const Array<double> values = actual.values<double>();
  ASSERT_EQ(values.shape.to_string(), exact.shape.to_string()) << what;
  ASSERT_EQ(naive.shape.to_string(), exact.shape.to_string()) << what;

  double error = 0, naive_error = 0, largest = 0, error_squares = 0, naive_squares = 0, squares = 0;
  for (std::int64_t i = 0; i < values.count(); ++i) {
    const double wanted = exact.values[i];
    if (!std::isfinite(wanted)) {
      ASSERT_EQ(values.values[i], wanted) << what << ", element " << i;
      continue;
    }
    ASSERT_TRUE(std::isfinite(values.values[i]))
        << what << ", element " << i << " of " << exact.shape.to_string();
    const float rounded =
        dtype == DType::bf16 ? static_cast<float>(bfloat16(naive.values[i])) : naive.values[i];
    error = std::max(error, std::abs(values.values[i] - wanted));
    naive_error = std::max(naive_error, std::abs(rounded - wanted));
    largest = std::max(largest, std::abs(wanted));
    error_squares += (values.values[i] - wanted) * (values.values[i] - wanted);
    naive_squares += (rounded - wanted) * (rounded - wanted);
    squares += wanted * wanted;
  }
  EXPECT_LE(error, 2 * naive_error + 0x1p-23 * largest + allowance) << what << ": largest error";
  const double bound = dtype == DType::bf16 ? 0x1p-8 : 0x1p-19;
  EXPECT_LE(std::sqrt(error_squares), std::max(bound * std::sqrt(squares), 2 * std::sqrt(naive_squares)) +
                                          allowance * std::sqrt(values.count()))
      << what << ": Frobenius norm";
}

const std::vector<RowsAndWidth>& matrix_sizes() {
  static const std::vector<RowsAndWidth> sizes = {{0, 5},  {1, 1},   {1, 3},    {3, 1},    {2, 17},  {1, 768},
                                                  {5, 64}, {33, 31}, {7, 1000}, {130, 48}, {70, 768}};
  return sizes;
}

std::string to_string(const RowsAndWidth& size) {
  return fmt::format("[{}, {}]", size.rows, size.width);
}

}  // namespace heddle::test
