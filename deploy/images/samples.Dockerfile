# Small images to try the cluster with; made from the distribution's packages, so that no registry is needed.
ARG BASE=debian:trixie-slim

# Debian 12's busybox is the 1.35 that the tag promises.
FROM ${BASE} AS busybox-files
ARG MIRROR=http://deb.debian.org/debian
RUN echo "deb ${MIRROR} bookworm main" >/etc/apt/sources.list.d/bookworm.list && apt-get update -q \
    && apt-get install -qy --no-install-recommends busybox-static/bookworm && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /rootfs/bin /rootfs/etc /rootfs/root /rootfs/home /rootfs/var \
    && install -d -m 1777 /rootfs/tmp && ln -s /tmp /rootfs/var/tmp && ln -s bin /rootfs/sbin \
    && cp "$(command -v busybox)" /rootfs/bin/busybox \
    && for applet in $(/rootfs/bin/busybox --list); do ln -sf busybox "/rootfs/bin/$applet.new" \
       && mv -n "/rootfs/bin/$applet.new" "/rootfs/bin/$applet" 2>/dev/null || true; done; rm -f /rootfs/bin/*.new \
    && echo 'root:x:0:0:root:/root:/bin/sh' >/rootfs/etc/passwd && echo 'nobody:x:65534:65534::/home:/bin/false' >>/rootfs/etc/passwd \
    && echo 'root:x:0:' >/rootfs/etc/group && echo 'nogroup:x:65534:' >>/rootfs/etc/group

FROM scratch AS busybox
COPY --from=busybox-files /rootfs /
CMD ["sh"]

# A web server of one page. On SIGTERM it goes on serving for as long as the cluster needs to send traffic elsewhere,
# as a server behind any load balancer should, and then ends.
FROM busybox AS httpd
ARG VERSION=v1
COPY deploy/images/httpd-serve /bin/httpd-serve
RUN mkdir -p /www && echo "test page ${VERSION}" >/www/index.html
EXPOSE 80
ENTRYPOINT ["/bin/httpd-serve"]

# nginx and the libraries that it needs, on top of busybox: small enough to be pushed in a second.
FROM ${BASE} AS nginx-files
RUN apt-get update -q && apt-get install -qy --no-install-recommends nginx-light && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /rootfs/etc/nginx /rootfs/usr/sbin /rootfs/var/log/nginx /rootfs/var/lib/nginx /rootfs/run \
        /rootfs/usr/share/nginx/html \
    && cp /usr/sbin/nginx /rootfs/usr/sbin/ && cp /etc/nginx/mime.types /rootfs/etc/nginx/ \
    && cp /usr/share/nginx/html/index.html /rootfs/usr/share/nginx/html/ \
    && ldd /usr/sbin/nginx | grep -o '/[^ ]*' | xargs -I{} cp --parents -L {} /rootfs/ \
    && ln -s /dev/stdout /rootfs/var/log/nginx/access.log && ln -s /dev/stderr /rootfs/var/log/nginx/error.log
COPY deploy/images/nginx.conf /rootfs/etc/nginx/nginx.conf
FROM busybox AS nginx
COPY --from=nginx-files /rootfs /
EXPOSE 80
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
