//! What becomes of an answer whose reader loses the right to it.

use futures_util::StreamExt;

use super::*;

#[actix_web::test]
async fn a_part_of_a_file_does_not_pass_for_the_whole_where_its_readers_right_ends() {
    fn routes(cfg: &mut ServiceConfig) {
        cfg.route(
            "/{kind}",
            web::get().to(async |faces: Data<Faces>, kind: web::Path<String>| {
                let parts = futures_util::stream::iter(0..10).map(move |part| {
                    if part == 5 {
                        faces.access.0.tokens.revoke("ci").unwrap();
                    }
                    Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"part"))
                });
                HttpResponse::Ok().content_type(format!("text/{kind}")).streaming(parts)
            }),
        );
    }
    for (kind, passes) in [("event-stream", true), ("plain", false)] {
        let site = Site::new();
        let bearer = site.token("ci", "viewer").await;
        let app = test::init_service(app(&site.faces, routes)).await;
        let request = TestRequest::with_uri(&format!("/{kind}")).insert_header(("Host", "127.0.0.1:8005"));
        let request = request.insert_header(("Authorization", bearer)).to_request();
        let response = test::call_service(&app, request).await;
        let read = actix_web::body::to_bytes(response.into_body()).await;
        assert_eq!(read.is_ok(), passes, "{kind}");
        assert!(
            read.is_err() || read.is_ok_and(|read| read.len() < 40),
            "{kind}: it is cut"
        );
    }
}

#[actix_web::test]
async fn who_loses_his_right_while_he_waits_for_an_answer_does_not_get_it() {
    fn routes(cfg: &mut ServiceConfig) {
        cfg.route(
            "/slow",
            web::get().to(async |faces: Data<Faces>| {
                faces.access.0.tokens.revoke("ci").unwrap();
                HttpResponse::Ok().body("a secret")
            }),
        );
    }
    let site = Site::new();
    let bearer = site.token("ci", "viewer").await;
    let app = test::init_service(app(&site.faces, routes)).await;
    let request = TestRequest::with_uri("/slow").insert_header(("Host", "127.0.0.1:8005"));
    let request = request.insert_header(("Authorization", bearer)).to_request();
    let response = test::call_service(&app, request).await;
    assert_eq!(response.status().as_u16(), 401);
    let text = test::read_body(response).await;
    assert!(!String::from_utf8_lossy(&text).contains("a secret"));
}
