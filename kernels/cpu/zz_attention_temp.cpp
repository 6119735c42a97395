#include <cmath>
#include <vector>
#include "kernels/cpu/cpu_ops.h"
#include "kernels/philox.h"
namespace heddle {
namespace {
float get(const Tensor& t, long b, long i, long h, long d) { long o = b*t.stride[0]+i*t.stride[1]+h*t.stride[2]+d; return t.dtype==DType::f32 ? ((float*)t.data)[o] : (float)((bfloat16*)t.data)[o]; }
void put(const Tensor& t, long b, long i, long h, long d, float v) { long o = b*t.stride[0]+i*t.stride[1]+h*t.stride[2]+d; if (t.dtype==DType::f32) ((float*)t.data)[o]=v; else ((bfloat16*)t.data)[o]=bfloat16(v); }
float keep(const Attention& a, long b, long h, long i, long j) { if (a.dropout.probability<=0) return 1; unsigned long e=((a.first_head+h)*a.q.shape[1]+i)*a.k.shape[1]+j; auto r=philox(a.dropout.key,{(uint32_t)(e/4),(uint32_t)((e/4)>>32),(uint32_t)(a.dropout.first_sample+b),*a.dropout.step}); double t=a.dropout.probability*4294967296.0; return r[e%4]>=(uint32_t)t ? 1/(1-a.dropout.probability):0; }
}
void CpuOps::attention_forward(const Attention& a) {
  long B=a.q.shape[0],T=a.q.shape[1],H=a.q.shape[2],D=a.q.shape[3],K=a.k.shape[1],g=H/a.k.shape[2];
#pragma omp parallel for collapse(2)
  for (long b=0;b<B;b++) for (long h=0;h<H;h++) { std::vector<float> s(K), o(D); for (long i=0;i<T;i++) { long n=a.causal? i+K-T+1:K; float m=-INFINITY; for (long j=0;j<n;j++){float x=0; for(long d=0;d<D;d++) x+=get(a.q,b,i,h,d)*get(a.k,b,j,h/g,d); s[j]=x*a.scale; m=std::max(m,s[j]);} float z=0; for(long j=0;j<n;j++){s[j]=std::exp(s[j]-m);z+=s[j];} std::fill(o.begin(),o.end(),0.f); for(long j=0;j<n;j++){float p=s[j]/z*keep(a,b,h,i,j); for(long d=0;d<D;d++) o[d]+=p*get(a.v,b,j,h/g,d);} for(long d=0;d<D;d++) put(a.o,b,i,h,d,o[d]); ((float*)a.log_sum_exp.data)[(b*H+h)*T+i]=m+std::log(z);} }
}
void CpuOps::attention_backward(const Attention& a, const AttentionGradients& G) {
  long B=a.q.shape[0],T=a.q.shape[1],H=a.q.shape[2],D=a.q.shape[3],K=a.k.shape[1],g=H/a.k.shape[2];
#pragma omp parallel for collapse(2)
  for (long b=0;b<B;b++) for (long h=0;h<H/g;h++) { std::vector<float> dk(K*D),dv(K*D),dq(D); for(long hh=h*g;hh<(h+1)*g;hh++) for (long i=0;i<T;i++) { long n=a.causal? i+K-T+1:K; float l=((float*)a.log_sum_exp.data)[(b*H+hh)*T+i]; float delta=0; for(long d=0;d<D;d++) delta+=get(a.o,b,i,hh,d)*get(G.d_o,b,i,hh,d); std::fill(dq.begin(),dq.end(),0.f); for(long j=0;j<n;j++){ float x=0,dp=0; for(long d=0;d<D;d++){x+=get(a.q,b,i,hh,d)*get(a.k,b,j,h,d); dp+=get(G.d_o,b,i,hh,d)*get(a.v,b,j,h,d);} float p=std::exp(x*a.scale-l), k=keep(a,b,hh,i,j); float ds=p*(dp*k-delta)*a.scale; for(long d=0;d<D;d++){dv[j*D+d]+=p*k*get(G.d_o,b,i,hh,d); dk[j*D+d]+=ds*get(a.q,b,i,hh,d); dq[d]+=ds*get(a.k,b,j,h,d);} } for(long d=0;d<D;d++) put(G.dq,b,i,hh,d,dq[d]); } for(long j=0;j<K;j++) for(long d=0;d<D;d++){put(G.dk,b,j,h,d,dk[j*D+d]);put(G.dv,b,j,h,d,dv[j*D+d]);} }
}
std::int64_t CpuOps::attention_backward_scratch(std::int64_t,std::int64_t,std::int64_t,std::int64_t,std::int64_t){return 1;}
}
