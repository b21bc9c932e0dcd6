//! Golden vectors and properties.
//!
//! The vectors were computed with a Python program written from the published reference code of
//! xoshiro256++ 1.0 and SplitMix64 (Blackman and Vigna, public domain); the streams of the five
//! seeds and the bytes agree with the crate `rand_xoshiro` 0.6 (`seed_from_u64`) as well.

use proptest::prelude::*;

use super::{ParseUuidError, Rng, Uuid, seed_from_id, split_mix_64};

#[test]
fn split_mix_64_reference() {
    let mut seed = 1_234_567;
    let outputs: [u64; 5] = std::array::from_fn(|_| split_mix_64(&mut seed));
    assert_eq!(
        outputs,
        [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ]
    );
}

#[test]
fn xoshiro_reference() {
    let mut rng = Rng {
        state: [1, 2, 3, 4],
    };
    let outputs: [u64; 6] = std::array::from_fn(|_| rng.next_u64());
    assert_eq!(
        outputs,
        [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386,
            9_228_616_714_210_784_205,
            9_973_669_472_204_895_162,
        ]
    );
}

#[test]
fn seeded_streams() {
    for (seed, expected) in [
        (
            0,
            [
                0x5317_5d61_490b_23df,
                0x61da_6f3d_c380_d507,
                0x5c0f_df91_ec9a_7bfc,
                0x02ee_bf8c_3bbe_5e1a,
            ],
        ),
        (
            1,
            [
                0xcfc5_d07f_6f03_c29b,
                0xbf42_4132_963f_e08d,
                0x19a3_7d57_57aa_f520,
                0xbf08_119f_05cd_56d6,
            ],
        ),
        (
            42,
            [
                0xd076_4d4f_4476_689f,
                0x519e_4174_576f_3791,
                0xfbe0_7cfb_0c24_ed8c,
                0xb37d_9f60_0cd8_35b8,
            ],
        ),
        (
            0xdead_beef_cafe_f00d,
            [
                0x2594_5a60_5e70_55a9,
                0x3948_323e_f977_5d55,
                0xcb4e_90ad_7cf1_678a,
                0xec5c_7dae_f7b0_39eb,
            ],
        ),
        (
            u64::MAX,
            [
                0x56cc_f8ce_948e_27b2,
                0xe685_8843_2e5a_5b90,
                0xe3e9_b5a4_8119_ca8b,
                0x460f_1949_5532_ae73,
            ],
        ),
    ] {
        let mut rng = Rng::new(seed);
        assert_eq!(
            std::array::from_fn(|_| rng.next_u64()),
            expected,
            "seed {seed}"
        );
    }
}

#[test]
fn derived_values() {
    let mut rng = Rng::new(42);
    let mut bytes = [0; 13];
    rng.fill_bytes(&mut bytes);
    assert_eq!(
        bytes,
        [
            0x9f, 0x68, 0x76, 0x44, 0x4f, 0x4d, 0x76, 0xd0, 0x91, 0x37, 0x6f, 0x57, 0x74
        ]
    );
    assert_eq!(
        rng.next_u64(),
        0xfbe0_7cfb_0c24_ed8c,
        "the rest of a draw is discarded"
    );

    let mut rng = Rng::new(42);
    assert_eq!(
        rng.uuid().to_string(),
        "9f687644-4f4d-46d0-9137-6f5774419e51"
    );
    assert_eq!(
        rng.uuid().to_string(),
        "8ced240c-fb7c-40fb-b835-d80c609f7db3"
    );

    let mut rng = Rng::new(42);
    let floats: [f64; 3] = std::array::from_fn(|_| rng.f64());
    assert_eq!(
        floats,
        [
            0.814_305_145_122_909_9,
            0.318_821_040_061_661_1,
            0.983_894_168_177_488_8
        ]
    );

    let mut rng = Rng::new(42);
    let dice: [u64; 12] = std::array::from_fn(|_| rng.below(6));
    assert_eq!(dice, [4, 1, 5, 4, 4, 3, 0, 3, 1, 5, 3, 5]);

    // a bound for which nearly half of the draws are repeated
    let mut rng = Rng::new(42);
    let large: [u64; 4] = std::array::from_fn(|_| rng.below((1 << 63) + 1));
    assert_eq!(
        large,
        [
            2_940_605_065_665_682_376,
            9_074_821_957_992_740_550,
            6_466_834_469_879_552_732,
            5_581_269_471_817_655_715,
        ]
    );
}

#[test]
fn seeds_from_ids() {
    let id: Vec<u8> = (0..24).collect();
    assert_eq!(seed_from_id(&id), 0x1d64_add2_a638_8367);
    assert_eq!(seed_from_id(b"abc"), 0xba78_16bf_8f01_cfea);
    assert_eq!(seed_from_id(b""), 16_406_829_232_824_261_652);
}

#[test]
fn edges() {
    let mut rng = Rng::new(7);
    assert_eq!(rng.below(0), 0);
    assert_eq!(rng.below(1), 0);
    rng.fill_bytes(&mut []);
    // the extreme draws
    let mut zero = Rng {
        state: [0, 0, 1, 0],
    };
    assert_eq!(zero.f64(), 0.0);
    let largest = (u64::MAX >> 11) as f64 / (1_u64 << 53) as f64;
    assert!(largest < 1.0);
}

#[test]
fn below_is_even() {
    let mut rng = Rng::new(1);
    let mut counts = [0_u32; 7];
    for _ in 0..70_000 {
        counts[rng.below(7) as usize] += 1;
    }
    // 10,000 expected each, standard deviation 93
    assert!(
        counts.iter().all(|count| (9_500..10_500).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn what_is_no_uuid() {
    for text in [
        "",
        "-",
        "67e55044-10b1-426f-9247-bb680e5fe0c",
        "67e55044-10b1-426f-9247-bb680e5fe0c80",
        "67e55044-10b1-426f-9247-bb680e5fe0c8-",
        "67e5504410b1426f9247bb680e5fe0c8",
        "67e55044010b1-426f-9247-bb680e5fe0c8",
        "67e55044--0b1-426f-9247-bb680e5fe0c8",
        "g7e55044-10b1-426f-9247-bb680e5fe0c8",
        "+7e55044-10b1-426f-9247-bb680e5fe0c8",
        "{67e55044-10b1-426f-9247-bb680e5fe0c8}",
        "ß7e55044-10b1-426f-9247-bb680e5fe0c8",
    ] {
        assert_eq!(text.parse::<Uuid>(), Err(ParseUuidError(())), "{text}");
    }
    let upper: Uuid = "67E55044-10B1-426F-9247-BB680E5FE0C8".parse().unwrap();
    assert_eq!(upper.to_string(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
    assert!(serde_json::from_str::<Uuid>("\"x\"").is_err());
    assert!(serde_json::from_str::<Uuid>("7").is_err());
}

#[test]
#[cfg(feature = "uuid")]
fn uuid_crate() {
    let ours = Rng::new(3).uuid();
    let theirs = uuid::Uuid::from(ours);
    assert_eq!(theirs.to_string(), ours.to_string());
    assert_eq!(theirs.get_version_num(), 4);
    assert_eq!(theirs.get_variant(), uuid::Variant::RFC4122);
    assert_eq!(Uuid::from(theirs), ours);
}

proptest! {
    #[test]
    fn below_is_below(seed: u64, n in 1_u64..) {
        let mut rng = Rng::new(seed);
        for _ in 0..8 {
            prop_assert!(rng.below(n) < n);
        }
    }

    #[test]
    fn floats_are_in_range(seed: u64) {
        let mut rng = Rng::new(seed);
        for _ in 0..8 {
            prop_assert!((0.0..1.0).contains(&rng.f64()));
        }
    }

    #[test]
    fn bytes_are_the_stream(seed: u64, len in 0_usize..100) {
        let mut bytes = vec![0; len];
        Rng::new(seed).fill_bytes(&mut bytes);
        let mut rng = Rng::new(seed);
        let stream: Vec<u8> = (0..13).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
        prop_assert_eq!(&bytes[..], &stream[..len]);
    }

    #[test]
    fn uuids_are_version_4(seed: u64) {
        let uuid = Rng::new(seed).uuid();
        let text = uuid.to_string();
        prop_assert_eq!(text.len(), 36);
        prop_assert_eq!(text.as_bytes()[14], b'4');
        prop_assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
    }

    #[test]
    fn uuids_round_trip(bytes: [u8; 16]) {
        let uuid = Uuid::from_bytes(bytes);
        prop_assert_eq!(uuid.to_string().parse::<Uuid>(), Ok(uuid));
        prop_assert_eq!(uuid.as_bytes(), &bytes);
        let json = serde_json::to_string(&uuid).unwrap();
        prop_assert_eq!(serde_json::from_str::<Uuid>(&json).unwrap(), uuid);
    }

    #[test]
    fn parsing_never_panics(text: String, like in "[0-9a-g-]{34,38}") {
        let _ = text.parse::<Uuid>();
        let _ = like.parse::<Uuid>();
    }
}
