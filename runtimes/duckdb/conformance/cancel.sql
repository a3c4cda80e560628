copy (select 'begun') to '/dev/stdout' (format csv, header false);
select sum(a.i * b.i) from range(1000000000) a(i), range(1000000) b(i)
