#include <routebpf.h>

static __noinline int level9(struct __sk_buff *skb)
{
    return skb->mark;
}

static __noinline int level8(struct __sk_buff *skb)
{
    return level9(skb) + 1;
}

static __noinline int level7(struct __sk_buff *skb)
{
    return level8(skb) + 1;
}

static __noinline int level6(struct __sk_buff *skb)
{
    return level7(skb) + 1;
}

static __noinline int level5(struct __sk_buff *skb)
{
    return level6(skb) + 1;
}

static __noinline int level4(struct __sk_buff *skb)
{
    return level5(skb) + 1;
}

static __noinline int level3(struct __sk_buff *skb)
{
    return level4(skb) + 1;
}

static __noinline int level2(struct __sk_buff *skb)
{
    return level3(skb) + 1;
}

static __noinline int level1(struct __sk_buff *skb)
{
    return level2(skb) + 1;
}

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    return level1(skb) == 1 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
